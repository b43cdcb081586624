"""Settings that are no judgement on content: how much is computed, and with what.

What a person must answer for (thresholds, smoothing, weights, sign-off) is a row of a ledger, not a
setting. Each group of settings is hashed into the code version of the assets that use it, so a change
re-runs them and nothing else. Two profiles: `demo` fits two cores and minutes, `full` a GPU and hours.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    SerializationInfo,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from ccai_dagster.core.digest import value_digest

PLACELESS = "placeless"
"""Serialisation context of digests: what changes no result is left out, as the place of a model or the patience with a
server."""


class Settings(BaseModel):
    """Base of all settings: frozen, and an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def digest(self) -> str:
        """Return the digest of all values."""
        return value_digest(self.model_dump(mode="json", context=PLACELESS))


LONGEST_WAIT = 604_800.0
"""Seconds of a week."""


def _from_the_root(source: str) -> str:
    kind, _, path = source.partition(":")
    if kind in ("folder", "gguf") and path and not path.startswith(("/", "~")):
        raise ValueError(
            f"{source!r} begins where a command is given, which for the daemon is elsewhere. Write the whole path, "
            f"`{kind}:/...`"
        )
    return source


ModelSource = Annotated[str, AfterValidator(_from_the_root)]


class ModelSettings(Settings):
    """Which language model is trained and asked for feedback."""

    source: ModelSource = Field(
        "embedded", description="`embedded`, `hub:ORGANISATION/NAME@REVISION`, `folder:PATH`, or `gguf:PATH`"
    )
    dtype: Literal["bfloat16", "float32"] = Field("bfloat16", description="number format of its weights")
    context_tokens: int = Field(2048, ge=64, description="longest prompt plus response, in tokens")


class SentenceModelSettings(Settings):
    """Which model says how alike two statements are in meaning."""

    source: ModelSource = Field(
        "embedded", description="`embedded` (English), `hub:ORGANISATION/NAME@REVISION`, or `folder:PATH`"
    )


UntunedMethod = Literal["letters", "letters_few_shot", "reasoned_letters", "contrast", "likeness"]
"""Ways of judging without tuning; a tuned feedback model is measured wherever there is one."""
SCORING_METHODS = frozenset({"likeness", "tuned"})
"""Ways of judging that score one response at a time."""


class ReasoningSettings(Settings):
    """Feedback after reasoning (Bai et al. 2022, section 4.1): how long, and how certain a label may be."""

    new_tokens: int = Field(128, ge=1, description="longest reasoning, in tokens, for each order")
    least_probability: float = Field(0.4, ge=0, lt=0.5, description="labels below are moved here")
    most_probability: float = Field(0.6, gt=0.5, le=1, description="labels above are moved here")


class ServerSettings(Settings):
    """How a server is asked. What is said here of time and of numbers changes no answer."""

    top_logprobs: int = Field(20, ge=2, le=20, description="likeliest tokens asked for; some hosted servers give 5")
    arguments: dict[str, JsonValue] = Field(
        {},
        description="further fields of every request, for instance `chat_template_kwargs: {enable_thinking: false}`; "
        "null leaves one out that the server does not know",
    )
    parallel: int | None = Field(None, ge=1, description="requests at a time; null finds out what the server can do")
    timeout: float = Field(120.0, gt=0, le=LONGEST_WAIT, description="seconds that one answer may take")
    patience: float = Field(
        900.0, ge=0, le=LONGEST_WAIT, description="seconds that a server may be gone or busy once it has answered"
    )

    @field_validator("arguments")
    @classmethod
    def _arguments(cls, arguments: dict[str, JsonValue]) -> dict[str, JsonValue]:
        own = {"model", "messages", "prompt", "echo", "stream", "n", "seed", "temperature", "max_tokens", "logprobs"}
        if taken := sorted(own & {name for name, value in arguments.items() if value is not None}):
            raise ValueError(f"take {', '.join(taken)} out: what is asked decides that")
        return arguments

    @model_serializer(mode="wrap")
    def _changed(self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        """Leave out what is as it was before there were such settings, and from digests what changes no answer."""
        fields = type(self).model_fields
        silent = {"parallel", "timeout", "patience"} if info.context == PLACELESS else set()
        written: dict[str, Any] = serialise(self)
        return {key: value for key, value in written.items() if value != fields[key].default and key not in silent}


class SamplingServer(Settings):
    """A server that writes texts in the place of this process, with the weights of one model.

    Before anything is written it is proven to hold that model, so its address is part of no digest.
    """

    server_url: str = Field(description="an OpenAI-compatible server; the key is CCAI_SERVER_KEY")
    server_model: str = Field("", description="the model's name on the server")
    server: ServerSettings = Field(ServerSettings(), description="how the server is asked")

    @model_serializer(mode="wrap")
    def _anywhere(self, serialise: SerializerFunctionWrapHandler, info: SerializationInfo) -> dict[str, Any]:
        written: dict[str, Any] = serialise(self)
        return {"server": written["server"]} if info.context == PLACELESS else written


class ServedModel(SamplingServer):
    """A model whose texts a server writes.

    Attributes:
        name: Of the model, as under `sampling`.
    """

    name: str


class FeedbackSettings(Settings):
    """The feedback model: the base model itself, or a server."""

    server_url: str | None = Field(None, description="an OpenAI-compatible server; the key is CCAI_SERVER_KEY")
    server_model: str | None = Field(None, description="the model's name on the server")
    server: ServerSettings = Field(ServerSettings(), description="how the server is asked")
    batch_size: int = Field(16, ge=1, description="conversations at a time in this process")
    calibration_comparisons: int | None = Field(
        24,
        ge=2,
        description="labelled comparisons a set that the feedback model is measured on; null takes all, as `likeness` "
        "always does",
    )
    calibration_methods: tuple[UntunedMethod, ...] = Field(
        ("letters", "contrast", "letters_few_shot"),
        min_length=1,
        description="ways of judging that are measured, beside `tuned` where there is a tuned judge",
    )
    reasoning: ReasoningSettings = Field(ReasoningSettings(), description="for `reasoned_letters`")

    @model_serializer(mode="wrap")
    def _as_before(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out how a server is asked where nothing is said of it, so that digests stay."""
        written: dict[str, Any] = serialise(self)
        return {key: value for key, value in written.items() if key != "server" or value}


_OF_AN_ADAPTER = {"passes": 1.0, "learning_rate": 1e-4, "lora_rank": 8}


class TunedJudgeSettings(Settings):
    """The feedback model tuned on one half of the labelled comparisons and measured on the other."""

    calibrate: bool = Field(
        False, description="tune and measure it even where the ledger records another feedback_method"
    )
    batch_size: int = Field(8, ge=1, description="comparisons read at a time")
    max_tokens: int = Field(384, ge=48, description="longest exchange, in tokens")

    @model_validator(mode="before")
    @classmethod
    def _without_training(cls, values: Any) -> Any:
        if gone := sorted({*_OF_AN_ADAPTER} & {*values}) if isinstance(values, dict) else []:
            raise ValueError(f"take {', '.join(gone)} out: a tuned judge is a score fitted to an untrained model")
        return values

    def digest(self) -> str:
        """Return the digest of all values, beside what adapters began with: it has stayed since there were some."""
        return value_digest(self.model_dump(mode="json") | _OF_AN_ADAPTER)


class RevisionSettings(Settings):
    """Critique and revision (Bai et al. 2022, section 3.1)."""

    prompts: int = Field(6, ge=1, description="prompts answered, criticised and revised")
    steps: int = Field(1, ge=1, le=4, description="revisions of each response")
    few_shots: int = Field(2, ge=0, le=5, description="worked examples shown before each request")
    new_tokens: int = Field(32, ge=1, description="longest response, critique or revision, in tokens")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    batch_size: int = Field(16, ge=1, description="conversations at a time")


class SupervisedSettings(Settings):
    """Fine-tuning on the revisions (Bai et al. 2022, section 3.2)."""

    steps: int = Field(4, ge=1, description="of training")
    batch_size: int = Field(8, ge=1, description="exchanges a step")
    learning_rate: float = Field(5e-4, gt=0, description="of the optimizer")
    lora_rank: int = Field(8, ge=1, description="width of the adapter that is trained")
    max_tokens: int = Field(192, ge=16, description="longest exchange, in tokens")


class PairSettings(Settings):
    """Sampled pairs of responses (Bai et al. 2022, section 4.1)."""

    prompts: int = Field(16, ge=1, description="prompts that responses are sampled to")
    new_tokens: int = Field(32, ge=1, description="longest response, in tokens")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    batch_size: int = Field(32, ge=2, description="responses at a time")


class PreferenceModelSettings(Settings):
    """The preference model on human helpfulness and AI harmlessness comparisons."""

    steps: int = Field(6, ge=1, description="of training")
    batch_size: int = Field(8, ge=1, description="comparisons a step")
    learning_rate: float = Field(5e-4, gt=0, description="of the optimizer")
    lora_rank: int = Field(8, ge=1, description="width of the adapter that is trained")
    max_tokens: int = Field(160, ge=16, description="longest exchange, in tokens")
    held_out_share: float = Field(0.2, gt=0, lt=1, description="share of the comparisons that is not trained on")


class BalanceSettings(Settings):
    """How widely the balance of harmlessness and helpfulness is looked at."""

    weights: tuple[float, ...] = Field(
        (), description="harmlessness weights tried beside the recorded one; each trains a preference model an arm"
    )
    benign_prompts: int | None = Field(
        2, ge=0, description="safe prompts taken of the over-refusal sets; null takes all"
    )

    @field_validator("weights")
    @classmethod
    def _weights(cls, weights: tuple[float, ...]) -> tuple[float, ...]:
        if not all(math.isfinite(weight) and weight >= 0 for weight in weights):
            raise ValueError("a weight must be a finite number from 0")
        return tuple(sorted(set(weights)))


class PolicySettings(Settings):
    """Training of the policy: reinforcement learning (RLOO) with a KL penalty, or direct preferences (DPO)."""

    steps: int = Field(3, ge=1, description="of training")
    prompts_per_step: int = Field(4, ge=1, description="prompts answered in a step")
    samples_per_prompt: int = Field(4, ge=2, description="responses to each of them")
    new_tokens: int = Field(24, ge=1, description="longest response, in tokens")
    kl_weight: float = Field(0.05, gt=0, description="of the penalty; for DPO its beta")
    learning_rate: float = Field(5e-4, gt=0, description="of the optimizer")
    lora_rank: int = Field(8, ge=1, description="width of the adapter that is trained")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    kl_limit: float = Field(1.0, gt=0, description="nats a token from the supervised policy; beyond it training stops")
    length_limit: float = Field(
        3.0, gt=1, description="training stops when responses grow or shrink by more than this factor"
    )
    held_out_prompts: int = Field(8, ge=1, description="prompts the reward is compared on with the supervised policy's")
    helpfulness_prompts: int = Field(
        0,
        ge=0,
        exclude_if=lambda count: not count,  # trainings without them keep their digest
        description="prompts of people's comparisons that reinforcement learning answers as well, drawn with the seed",
    )


class EvaluationSettings(Settings):
    """How much of each evaluation is run."""

    items_per_benchmark: int | None = Field(16, ge=1, description="seeded sample of items; null runs all")
    batch_size: int = Field(16, ge=1, description="items or responses at a time")
    distinct_principles: int = Field(
        1, ge=0, description="principles of one constitution only that prompts to read are drafted from, an arm"
    )
    new_tokens: int = Field(32, ge=1, description="longest response, in tokens")
    comparison_prompts: int = Field(6, ge=2, description="held-out prompts each pair of arms is compared on")
    adherence_prompts: int = Field(6, ge=1, description="held-out prompts")
    principles_per_prompt: int = Field(2, ge=1, description="relevant principles judged on each response")
    control_statements: int = Field(12, ge=0, description="statements below the cut, as negative controls")
    controls_per_prompt: int = Field(1, ge=0, description="relevant controls judged on each response")
    bootstraps: int = Field(2000, ge=100, description="resamples behind intervals")


class ControlSettings(Settings):
    """The positive control: two models trained by a rule and by its opposite, the same in every profile.

    Every pair is learnt from one and a half times. After eight steps the embedded model that was taught to write
    plainly differed beyond doubt from the untrained one in two of three draws of pairs, prompts and responses.
    """

    pairs: PairSettings = Field(PairSettings(prompts=60), description="pairs of the untrained model's responses")
    held_out_share: float = Field(0.02, gt=0, lt=1, description="share of the pairs that is not trained on")
    max_tokens: int = Field(160, ge=16, description="longest exchange, in tokens")
    policy: PolicySettings = Field(
        PolicySettings(steps=12, learning_rate=1e-3), description="training of either, by direct preferences"
    )
    held_out_prompts: int = Field(30, ge=2, description="prompts that all respond to afterwards")
    samples: int = Field(3, ge=1, description="responses to each of them")
    new_tokens: int = Field(32, ge=1, description="longest response, in tokens")
    temperature: float = Field(1.0, gt=0, description="of sampling")
    batch_size: int = Field(32, ge=1, description="responses at a time")


class DeliberationSettings(Settings):
    """How often the groups are resampled, and votes shuffled to see what chance would group."""

    bootstraps: int = Field(60, ge=10, description="times that participants are drawn anew")
    shuffles: int = Field(200, ge=19, description="times that votes are shuffled for the test of structure")


class SensitivitySettings(Settings):
    """How many combinations of numeric decisions are tried."""

    ways_to_group: int = Field(
        40,
        ge=2,
        description="seeded sample of the ways to group people, each tried with all ways to score and select; "
        "all ways if there are no more",
    )


class Profile(Settings):
    """Everything above together."""

    deliberation: DeliberationSettings = DeliberationSettings()
    feedback: FeedbackSettings = FeedbackSettings()
    tuned_judge: TunedJudgeSettings = TunedJudgeSettings()
    revisions: RevisionSettings = RevisionSettings()
    supervised: SupervisedSettings = SupervisedSettings()
    pairs: PairSettings = PairSettings()
    preference_model: PreferenceModelSettings = PreferenceModelSettings()
    balance: BalanceSettings = BalanceSettings()
    policy: PolicySettings = PolicySettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    control: ControlSettings = ControlSettings()
    sensitivity: SensitivitySettings = SensitivitySettings()
    sampling: dict[str, SamplingServer] = Field(
        default_factory=dict,
        exclude_if=lambda servers: not servers,
        description="servers that write the texts of a model, by its name: `base_model`, `revision_model`, "
        "`ARM/supervised_policy`, `ARM/policy`",
    )


DEMO = Profile()
FULL = Profile(
    deliberation=DeliberationSettings(bootstraps=1000),
    feedback=FeedbackSettings(
        batch_size=64,
        calibration_comparisons=None,
        calibration_methods=("letters", "contrast", "letters_few_shot", "reasoned_letters"),
    ),
    tuned_judge=TunedJudgeSettings(calibrate=True, batch_size=64, max_tokens=1024),
    revisions=RevisionSettings(prompts=4000, steps=4, few_shots=5, new_tokens=256, batch_size=64),
    supervised=SupervisedSettings(steps=500, batch_size=64, learning_rate=2e-5, lora_rank=64, max_tokens=1024),
    pairs=PairSettings(prompts=8000, new_tokens=256, batch_size=128),
    preference_model=PreferenceModelSettings(
        steps=500, batch_size=64, learning_rate=5e-5, lora_rank=64, max_tokens=1024, held_out_share=0.1
    ),
    balance=BalanceSettings(weights=(0.0, 0.25, 0.5, 1.0, 2.0), benign_prompts=None),
    policy=PolicySettings(
        steps=500,
        prompts_per_step=16,
        samples_per_prompt=8,
        new_tokens=256,
        learning_rate=5e-6,
        lora_rank=64,
        held_out_prompts=500,
        helpfulness_prompts=4000,
    ),
    evaluation=EvaluationSettings(
        items_per_benchmark=None,
        batch_size=64,
        distinct_principles=10,
        new_tokens=256,
        comparison_prompts=500,
        adherence_prompts=500,
        principles_per_prompt=5,
        control_statements=100,
        controls_per_prompt=3,
        bootstraps=10_000,
    ),
    sensitivity=SensitivitySettings(ways_to_group=2000),
)
PROFILES = {"demo": DEMO, "full": FULL}
