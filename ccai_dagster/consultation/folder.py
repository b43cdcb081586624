"""A consultation is a folder of plain files; this module reads and checks it.

`consultation.yaml` says what was asked and of whom, where the votes are, which arms are trained and how much is
computed. Ledgers, votes and prompts are read by the packages that use them; here only their places are known, so that
loading the definitions costs nothing.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from ccai_dagster.consultation.people import DemographicQuestion, PortalSettings, portal_languages
from ccai_dagster.consultation.settings import (
    PROFILES,
    ModelSettings,
    Profile,
    SentenceModelSettings,
    ServedModel,
    Settings,
)
from ccai_dagster.core.digest import file_digest, folder_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home, home_root
from ccai_dagster.core.language import SOURCE, is_language, languages
from ccai_dagster.core.schema_version import check_schema_version

SAMPLE = Path(__file__).parents[1] / "sample" / "consultation"
"""The consultation that comes with the project."""
EMBEDDED = "sample:"
"""What its address and those of its files begin with."""

LEDGERS = ("moderation", "exclusion", "merge", "wording", "idea", "threshold", "training", "signoff")
ModerationMode = Literal["strict", "lenient"]
"""Whether a statement that nobody moderated is out (strict) or in (lenient)."""
EXPORT = "polis_export"
"""What the export is called wherever it is named: as an asset, and as the subject of a sign-off."""
PLACEHOLDERS = {"title": "(a title)", "public": "(who was asked)", "question": "(what they were asked)"}
"""What a new folder's consultation.yaml says until somebody writes what it is about."""
BASE = "base"
"""What the untrained model is called wherever arms are compared."""
PLAIN, ORNATE = CONTROL_ARMS = ("control_plain", "control_ornate")
"""The arms of the positive control, which pull in opposite directions."""


PORTAL = "portal"
"""What `votes` says where people vote in the project's own portal."""


def evaluated_model(arm: str) -> str:
    """Return what the model of an arm, or the untrained one, is called under `sampling`."""
    return "base_model" if arm == BASE else f"{arm}/policy"


def is_address(votes: str) -> bool:
    """Whether votes come from an address rather than from files."""
    return re.match(r"https?://[^/\s]+", votes, re.IGNORECASE) is not None


def is_live(votes: str) -> bool:
    """Whether votes may change at any moment, so that they are read from a copy: in the portal, or at an address."""
    return votes == PORTAL or is_address(votes)


def without_password(votes: str) -> str:
    """Return where votes are, for people to see: a path as it is, an address without the name and password in it."""
    return re.sub(r"^(\w+://)[^/?#]*@", r"\1", votes)


class Arm(Settings):
    """A constitution a model is trained on.

    `constitution` is `ledgers` for the one derived from the votes and the ledgers, or the path of a CSV
    with the columns `principle_id,text` and optionally `statement_ids` (separated by spaces). A principle is
    drawn for each comparison: any with the same probability, or with `principle_weights: gac` in proportion to
    the group-aware consensus on it, which only a constitution from the ledgers has.
    """

    constitution: str = Field(description="`ledgers`, or the path of a CSV")
    description: str = Field(description="what it is, in a sentence for readers of the pages")
    principle_weights: Literal["uniform", "gac"] = Field("uniform", description="how principles are drawn")


class HubDataset(Settings):
    """A dataset of the Hugging Face hub, at one commit, so that it is the same for ever."""

    dataset: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="ORGANISATION/NAME")
    revision: str = Field(pattern=r"^[0-9a-f]{40}$", description="a commit, 40 hexadecimal digits")


class Benchmark(Settings):
    """An evaluation set: a file, a folder or a dataset of the hub, read by one of the formats of `evaluation`.

    `limit` says by profile how many items are drawn (null takes all); a profile that is not named takes
    `items_per_benchmark` of its own settings.
    """

    format: Literal[
        "multiple_choice",
        "numeric_answer",
        "social_bias",
        "over_refusal",
        "bbq",
        "mmlu",
        "gsm8k",
        "opinion_qa",
        "xstest",
        "political_even_handedness",
    ] = Field(description="how its items are read and scored")
    path: str | None = Field(None, description="file or folder, relative to the consultation")
    hub: HubDataset | None = Field(None, description="a dataset of the Hugging Face hub, in place of `path`")
    shots: int | None = Field(None, ge=0, description="examples before each question; null: the format's own")
    prompt: Literal["plain", "chat"] | None = Field(
        None, description="bare text or the model's chat template; null: the format's own"
    )
    limit: dict[str, Annotated[int, Field(ge=1)] | None] = Field(
        default_factory=dict, description="items drawn, by profile"
    )
    description: str = Field(description="what it measures, in a sentence for readers of the pages")

    @model_validator(mode="after")
    def _one_source(self) -> Benchmark:
        if (self.path is None) == (self.hub is None):
            raise ValueError("give either `path` or `hub`, where its items come from")
        if unknown := set(self.limit) - set(PROFILES):
            raise ValueError(f"limit: unknown profiles {sorted(unknown)}; there are {sorted(PROFILES)}")
        return self


class EvaluationSet(Settings):
    """A benchmark as it is run: its place absolute, its size that of the profile.

    Attributes:
        limit: How many items are drawn; None takes all.
    """

    format: str
    path: Path | None = None
    hub: HubDataset | None = None
    shots: int | None = None
    prompt: Literal["plain", "chat"] | None = None
    limit: int | None = None

    @property
    def place(self) -> str:
        """Where its items come from, as errors name it."""
        return str(self.path) if self.hub is None else f"{self.hub.dataset}@{self.hub.revision}"

    def content_digest(self) -> str:
        """Return the digest of what it is made of and how it is asked; a moved file changes nothing."""
        if self.path is None:
            return self.digest()
        content = folder_digest(self.path) if self.path.is_dir() else file_digest(self.path)
        return value_digest([content, self.model_dump(mode="json", exclude={"path"})])


class Replication(Settings):
    """A published result to be reproduced from the votes: what was published, in files of the folder.

    `constitution` names the arm that is the published constitution: a file with the sources of each principle. Neither
    there nor in the baseline need texts be known; the figures that rest on them are then not computed.
    """

    figures: str = Field(description="CSV of the published figures")
    groups: str = Field(description="CSV of the published group of each participant")
    agreement: str = Field(description="CSV of the published agreement of each group with each statement")
    seed_statements: str = Field(description="CSV of the statements that the organisers wrote")
    constitution: str = Field(description="the arm that is the published constitution")
    seeds: int = Field(20, ge=1, description="seeds of k-means that groups are recomputed with")
    permutations: int = Field(1000, ge=99, description="shuffles of the permutation test")
    bootstraps: int = Field(1000, ge=100, description="resamples behind the intervals of the scores")


class ConsultationFile(Settings):
    """The content of `consultation.yaml`.

    `votes` names a folder or a zip with a Polis export, a plain table of votes (CSV or Parquet), or the address
    of a report's export; `portal` stands for the project's own, in which people vote (a folder of that name is
    `./portal`). `moderation` is strict if statements nobody moderated are out; `ccai new` tells what the votes
    say of it.
    """

    schema_version: int = Field(0, description="the form that this file and the ledgers are written in")
    title: str = Field(description="of the consultation, as the pages show it")
    public: str = Field(description="who was asked")
    question: str = Field(description="what they were asked")
    language: str = Field(SOURCE, description="of `summary.html` and `constitution.html`: `en`, `de`, or another")
    page_texts: str | None = Field(
        None, description="PO file with the texts of that page, for a language that the project has none of"
    )
    votes: str = Field("votes", description="where the votes are")
    portal: PortalSettings = Field(PortalSettings(), description="what people are told and asked in the portal")
    demographics: list[DemographicQuestion] = Field(
        default_factory=list, description="questions about the people who take part, with targets"
    )
    vote_values: dict[str, Literal["agree", "disagree", "pass", "no vote"]] = Field(
        default_factory=dict,
        description="what votes mean that are neither -1, 0 and 1 nor words: a value, a word or a range as 1..2, each "
        "agree, disagree, pass or no vote; the first that fits counts, and other values are no votes",
    )
    moderation: ModerationMode = Field(
        description="whether statements nobody moderated are out (strict) or in (lenient)"
    )
    seed: int = Field(description="of everything that is drawn")
    arms: dict[str, Arm] = Field(description="the constitutions models are trained on, two or more")
    baseline: str = Field(description="the arm that the others are compared with")
    principle_tags: str | None = Field(None, description="CSV of people's tags of principles")
    published_scores: str | None = Field(None, description="CSV of scores published elsewhere, shown beside")
    replication: Replication | None = Field(None, description="a published result to reproduce")
    model: ModelSettings = Field(ModelSettings(), description="the language model that is trained")
    revision_model: ModelSettings | None = Field(
        None,
        description="the language model whose responses are criticised and revised, if not the one that is trained",
    )
    sentence_model: SentenceModelSettings | None = Field(
        None,
        description="the model that finds topics of statements and judges by `likeness`; without, no topics are found "
        "and `embedded` judges",
    )
    prompts: str = Field("prompts.csv", description="CSV of the prompts, each with its purpose and themes")
    themes: str = Field("themes.csv", description="CSV of the themes that prompts and principles are tagged with")
    helpfulness: str = Field("helpfulness.jsonl", description="comparisons of responses by people")
    benign_pairs: str = Field(
        "sample:benign.csv", description="CSV of plain and annoying responses to harmless prompts"
    )
    judge_comparisons: dict[str, str] = Field(
        default_factory=dict, description="sets of labelled comparisons the feedback model is measured on, by name"
    )
    adherence_examples: str | None = Field(None, description="responses that people labelled under principles")
    contrast_pairs: str | None = Field(None, description="responses that keep a principle beside ones that break it")
    benchmarks: dict[str, Benchmark] = Field(default_factory=dict, description="evaluation sets, by name")
    control: bool = Field(
        False,
        description="whether two more models are trained on a judge whose taste is known, to see whether training "
        "follows the judge (in English only)",
    )
    profiles: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="changes to the sizes of `demo` and `full`"
    )

    @field_validator("language")
    @classmethod
    def _language(cls, language: str) -> str:
        if language != SOURCE and not is_language(language):
            raise ValueError(f"no language is known as {language!r}; write its code, as de or pt-BR")
        return language

    @field_validator("votes")
    @classmethod
    def _source(cls, votes: str) -> str:
        if "://" in votes and not is_address(votes):
            scheme = votes.partition("://")[0]
            raise ValueError(f"must be a path, or an address that begins with https:// or http://, not {scheme}://")
        return votes

    @field_validator("vote_values", mode="before")
    @classmethod
    def _values(cls, named: Any) -> Any:
        if isinstance(named, dict) and any(isinstance(value, bool) for value in named):
            raise ValueError('put yes, no, on and off in quotes, as "yes": agree')
        return {str(value): meaning for value, meaning in named.items()} if isinstance(named, dict) else named

    @field_validator("arms", "benchmarks")
    @classmethod
    def _names(cls, named: dict[str, Any]) -> dict[str, Any]:
        for name in named:
            if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in (BASE, EXPORT):
                raise ValueError(f"{name!r} must be lower-case letters, digits and _, and neither {BASE} nor {EXPORT}")
        return named

    @model_validator(mode="after")
    def _consistent(self) -> ConsultationFile:
        if self.page_texts is None and self.language.partition("-")[0] not in languages():
            raise ValueError(
                f"pages have no texts in {self.language!r}, only in {', '.join(languages())}. Name a PO file with them "
                "as `page_texts`"
            )
        if len(self.arms) < 2:
            raise ValueError("at least two arms are needed, or there is nothing to compare")
        if self.baseline not in self.arms:
            raise ValueError(f"baseline {self.baseline!r} is not one of the arms {sorted(self.arms)}")
        if self.control and (taken := set(CONTROL_ARMS) & set(self.arms)):
            raise ValueError(f"with `control: true`, {', '.join(sorted(taken))} is no name for an arm; rename it")
        for name, arm in self.arms.items():
            if arm.principle_weights == "gac" and arm.constitution != "ledgers":
                raise ValueError(
                    f"arm {name!r} has `principle_weights: gac`, but no principle of {arm.constitution} has a "
                    "group-aware consensus. Use `constitution: ledgers`, or `principle_weights: uniform`"
                )
        if self.replication:
            files = [name for name, arm in self.arms.items() if arm.constitution != "ledgers"]
            if unread := {self.replication.constitution, self.baseline} - set(files):
                raise ValueError(
                    f"replication: {sorted(unread)} must be among the arms that are files, which are {sorted(files)}"
                )
        if len({each.name for each in self.demographics}) < len(self.demographics):
            raise ValueError("demographics: two questions have the same name")
        if self.portal.places is not None and not any(each.targets for each in self.demographics):
            raise ValueError("portal.places needs a question under `demographics` that has targets")
        if unknown := set(self.profiles) - set(PROFILES):
            raise ValueError(f"unknown profiles {sorted(unknown)}; there are {sorted(PROFILES)}")
        return self


class Consultation(Settings):
    """A consultation folder, read and checked, with the profile it is run in.

    Attributes:
        folder: Absolute.
        profile: The settings of the chosen profile, with the consultation's own changes applied.
    """

    folder: Path
    file: ConsultationFile
    profile_name: str
    profile: Profile

    @property
    def name(self) -> str:
        """The folder's name: results are kept under it."""
        return self.folder.name if self.folder != SAMPLE else "sample"

    @property
    def address(self) -> str:
        """The folder, as its results name it."""
        return address_of(self.folder)

    def path(self, relative: str) -> Path:
        """A file of the consultation; `sample:NAME` is a file of the embedded one."""
        base = SAMPLE if relative.startswith(EMBEDDED) else self.folder
        return Path(os.path.normpath(base / relative.removeprefix(EMBEDDED)))

    @property
    def votes(self) -> str:
        """Where the votes are: `portal`, the address of a report's export, or an absolute path."""
        return self.file.votes if is_live(self.file.votes) else str(self.path(self.file.votes))

    @property
    def portal_languages(self) -> list[str]:
        """The languages of the portal's interface, the first for who asks for none of them."""
        own = self.file.language.partition("-")[0]
        return self.file.portal.languages or [own if own in portal_languages() else SOURCE]

    def ledger(self, kind: str) -> Path:
        """The ledger of one kind of decision."""
        return self.folder / "decisions" / f"{kind}.csv"

    def evaluation_set(self, name: str) -> EvaluationSet:
        """A benchmark as this profile runs it."""
        benchmark = self.file.benchmarks[name]
        return EvaluationSet(
            **benchmark.model_dump(include={"format", "shots", "prompt"}),
            path=self.path(benchmark.path) if benchmark.path is not None else None,
            hub=benchmark.hub,
            limit=benchmark.limit.get(self.profile_name, self.profile.evaluation.items_per_benchmark),
        )

    def served(self, model: str) -> ServedModel | None:
        """The server that writes the texts of a model, `base_model` or `ARM/policy` for instance; None for none."""
        server = self.profile.sampling.get(model)
        return ServedModel(name=model, **dict(server)) if server else None

    def served_evaluated(self, arm: str) -> ServedModel | None:
        """The server that writes what is evaluated of an arm or of the untrained model.

        None where this process writes for any of them: they would differ in who wrote for them, too.
        """
        names = {each: evaluated_model(each) for each in (BASE, *self.arms)}
        return self.served(names[arm]) if self.profile.sampling.keys() >= set(names.values()) else None

    @property
    def ratings(self) -> Path:
        """The folder of people's ratings; there is none until pairs are exported for rating."""
        return self.folder / "ratings"

    @property
    def arms(self) -> dict[str, Arm]:
        """The constitutions models are trained on, by name."""
        return self.file.arms


class _NamesOnce(yaml.SafeLoader):
    """YAML's plain values. A name that stands twice is refused, since only what is below the last would be read."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in names:
                problem = f"`{key.value}` stands twice; put what is below both under one"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            names.add(key.value)
        return super().construct_mapping(node, deep)


def read_consultation(folder: Path, profile: str = "demo") -> Consultation:
    """Read `consultation.yaml` and check that every file it names is there.

    Args:
        profile: `demo` or `full`.

    Raises:
        ConsultationError: The folder or a file is missing, or a setting is unknown or out of range.
    """
    path = folder / "consultation.yaml"
    if not path.is_file():
        raise ConsultationError(f"{path}: not found. `ccai new` makes a consultation folder.")
    try:
        content = _NamesOnce(path.read_text(encoding="utf-8")).get_single_data()
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConsultationError(f"{path}: not readable as YAML: {error}") from error
    if not isinstance(content, dict):
        raise ConsultationError(f"{path}: expected settings as `name: value`, found {type(content).__name__}.")
    check_schema_version(path, content.get("schema_version"))
    if profile not in PROFILES:
        raise ConsultationError(f"There is no profile {profile!r}; there are {', '.join(sorted(PROFILES))}.")
    try:
        file = ConsultationFile.model_validate(content)
        merged = _merge(PROFILES[profile].model_dump(), file.profiles.get(profile, {}))
        chosen = Profile.model_validate(merged)
    except ValidationError as error:
        lines = [f"{path}: `{'.'.join(map(str, each['loc']))}`: {_in_words(each)}" for each in error.errors()]
        raise ConsultationError("\n".join(lines)) from error
    consultation = Consultation(folder=folder.resolve(), file=file, profile_name=profile, profile=chosen)
    _check_files(consultation)
    _check_sampling(consultation)
    return consultation


def _in_words(detail: ErrorDetails) -> str:
    if detail["type"] == "extra_forbidden":
        return "there is no setting of this name here"
    return detail["msg"].removeprefix("Value error, ")  # what pydantic puts before sentences of this package


def chosen_consultation(folder: Path | None = None, profile: str = "demo") -> Consultation:
    """Read the consultation in a folder, else in that of `CCAI_CONSULTATION`, else here, else the sample."""
    return read_consultation(folder or named_elsewhere() or SAMPLE, profile)


def named_elsewhere() -> Path | None:
    """Return the folder of `CCAI_CONSULTATION`, else the consultation's that one is in; None if neither."""
    if named := os.environ.get("CCAI_CONSULTATION"):
        return Path(named)
    here = Path.cwd()
    return next((each for each in (here, *here.parents) if (each / "consultation.yaml").is_file()), None)


def home_of(consultation: Consultation) -> Home:
    """Return where the results of a consultation are kept in `CCAI_HOME`.

    Raises:
        ConsultationError: Those of another folder of the same name are kept there.
    """
    home = Home(home_root(), consultation.name)
    if home.source.is_file():
        has_moved(consultation, home, home.source.read_text(encoding="utf-8").strip())
    return home


def has_moved(consultation: Consultation, home: Home, address: str) -> bool:
    """Whether results belong to this consultation, whose folder was elsewhere and is no longer there.

    Args:
        address: Of the folder that the results in `home` were made of.

    Raises:
        ConsultationError: They belong to another one.
    """
    if address == consultation.address:
        return False
    if address == EMBEDDED or (Path(address) / "consultation.yaml").is_file():
        other = "the embedded consultation" if address == EMBEDDED else address
        raise ConsultationError(
            f"{home.folder} keeps the results of {other}, so {consultation.folder} cannot. Rename one of the two "
            "folders, or set CCAI_HOME to another place for one of them."
        )
    return True


def address_of(folder: PurePath) -> str:
    """Return the address of a consultation folder; the embedded one has the same in every checkout."""
    return EMBEDDED if folder.parts[-3:] == SAMPLE.parts[-3:] else str(folder)


def _merge(defaults: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    merged = dict(defaults)
    for name, value in changes.items():
        both = isinstance(value, dict) and isinstance(merged.get(name), dict)
        merged[name] = _merge(merged[name], value) if both else value
    return merged


def named_files(consultation: Consultation) -> list[Path]:
    """Return every file and folder that the consultation is made of, beside `consultation.yaml` itself."""
    file = consultation.file
    named = [] if is_live(file.votes) else [file.votes]
    named += [each for each in (file.portal.seed_statements, file.portal.questions_and_answers) if each]
    named += [file.prompts, file.themes, file.helpfulness, file.benign_pairs, *file.judge_comparisons.values()]
    named += [arm.constitution for arm in file.arms.values() if arm.constitution != "ledgers"]
    named += [benchmark.path for benchmark in file.benchmarks.values() if benchmark.path is not None]
    named += [
        each
        for each in (file.published_scores, file.principle_tags, file.adherence_examples, file.contrast_pairs)
        if each
    ]
    named += [file.page_texts] if file.page_texts else []
    if published := file.replication:
        named += [published.figures, published.groups, published.agreement, published.seed_statements]
    return [consultation.path(name) for name in named] + [consultation.ledger(kind) for kind in LEDGERS]


def _check_files(consultation: Consultation) -> None:
    if missing := [str(path) for path in named_files(consultation) if not path.exists()]:
        raise ConsultationError(
            f"{consultation.folder / 'consultation.yaml'} names files that do not exist: "
            f"{', '.join(missing)}. Add them or correct the name; an empty ledger still needs its header row."
        )


def _check_sampling(consultation: Consultation) -> None:
    """All arms are written for in one way, by servers or in this process, or they would differ in that as well."""
    named, arms = set(consultation.profile.sampling), sorted(consultation.arms)
    untrained = {"base_model"} | ({"revision_model"} if consultation.file.revision_model else set())
    supervised, policies = ({f"{arm}/{stage}" for arm in arms} for stage in ("supervised_policy", "policy"))
    unknown = named - untrained - supervised - policies
    missing = {each for group in (supervised, policies | {"base_model"}) if named & group - untrained for each in group}
    where = f"{consultation.folder / 'consultation.yaml'}: `profiles.{consultation.profile_name}.sampling`"
    if unknown:
        raise ConsultationError(
            f"{where} names {', '.join(sorted(unknown))}; there are "
            f"{', '.join(sorted(untrained | supervised | policies))}."
        )
    if missing - named:
        raise ConsultationError(
            f"{where} has no server for {', '.join(sorted(missing - named))}, and for others that are compared with it "
            "it has. Name servers for all of them or for none, or arms would differ in who wrote for them."
        )
