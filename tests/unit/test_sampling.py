"""Texts of a model that a server writes: proven first to hold that model, then asked as this process would write."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import numpy as np
import polars as pl
import pytest
import yaml
from local_server import SETTINGS, Server, chat
from served_models import answering, spoken
from small_portal import small_comparisons
from typer.testing import CliRunner

from assets import evaluation, feedback, training
from ccai_dagster.cli.app import app
from ccai_dagster.consultation.folder import SAMPLE, EvaluationSet, read_consultation
from ccai_dagster.consultation.settings import EvaluationSettings, ModelSettings, PairSettings, ServedModel
from ccai_dagster.contracts import PROMPTS
from ccai_dagster.core.errors import ConsultationError, silent
from ccai_dagster.core.home import Home
from ccai_dagster.evaluation.conversation_ratings import read_open
from ccai_dagster.feedback.language_model import Response
from ccai_dagster.stages.evaluation import BenchmarksStage, ComparisonStage
from ccai_dagster.stages.feedback import ResponsePairsStage
from ccai_dagster.stages.request import StageFolder
from ccai_dagster.stages.sampling import HIGH, PROBES, WHOLE_DISTRIBUTION, with_unlikely_tokens
from ccai_dagster.stages.transformers_model import TransformersModel
from resources.model_store import ModelStore

pytestmark = pytest.mark.torch
NAMES = ("base_model", "public/policy", "standard/policy")
WORDS = ["Why?", "Who is fair?", "Please tell me how I can write a letter.", "How?", "Be kind to me."]


@pytest.fixture(scope="module")
def other_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with one of its matrices a quarter larger."""
    import torch

    from ccai_dagster.training.model_folder import load_model, load_tokenizer, save_model

    place, model = tmp_path_factory.mktemp("other") / "model", load_model(tiny_model)
    with torch.no_grad():
        model.model.layers[1].mlp.down_proj.weight.mul_(1.25)
    save_model(model, load_tokenizer(tiny_model), place)
    return place


def prompts(purpose: str) -> pl.DataFrame:
    return PROMPTS.build(
        [
            {"prompt_id": f"q{at}", "text": text, "purpose": purpose, "themes": [], "relevant_principles": []}
            for at, text in enumerate(WORDS)
        ]
    )


def serve(server: Server, model: Path, shift: float = 0.0, ends: bool = False) -> None:
    """Have a server hold a model: it tells what that says and how likely, and writes something of its own.

    Args:
        shift: Added to the log-probability of each token, as another number format would.
        ends: Whether the end of the turn is told as a token.
    """
    held = TransformersModel(model, "float32", 1)

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        if "logprobs" not in body:
            return 200, chat(f" {body['messages'][-1]['content']} {body['seed'] % 97}", None, "length")
        text, _, likelihood, tokens = spoken(held, body)
        logs = [{"token": "?", "logprob": likelihood / max(1, tokens) + shift}] * tokens
        return 200, chat(text, {"content": [*logs, *([{"token": "", "logprob": -9.0}] if ends else [])]})

    server.answer = answer


def served(server: Server, name: str = "public/supervised_policy") -> ServedModel:
    return ServedModel(server_url=server.model.url, server_model="held", server=SETTINGS, name=name)


def pairs_stage(server: Server, model: Path) -> ResponsePairsStage:
    return ResponsePairsStage(
        model=ModelSettings(dtype="float32", context_tokens=512),
        supervised_policy=model,
        prompts=prompts("preference"),
        settings=PairSettings(prompts=5, new_tokens=4, temperature=0.5),
        sampled_by=served(server),
        seed=7,
    )


def folder(path: Path) -> StageFolder:
    made = StageFolder(path)
    made.made.mkdir(parents=True, exist_ok=True)
    return made


@pytest.mark.parametrize("ends", [False, True])
def test_a_server_that_holds_the_model_writes_and_is_asked_for_nothing_twice(
    server: Server, tiny_model: Path, tmp_path: Path, ends: bool
) -> None:
    serve(server, tiny_model, ends=ends)
    stage, place = pairs_stage(server, tiny_model), folder(tmp_path)
    found = stage.run(place, silent).provenance
    assert found["public/supervised_policy written by"] == f"{server.model.url} held"
    assert found["public/supervised_policy proven by"].startswith(
        "6 answers, which differ from this process by 0.0000 nats a token (bound 0.02); what it writes at"
    )
    table = pl.read_parquet(place.made / "response_pairs.parquet")
    bodies = [body for _, body, _ in server.requests]
    written = [body for body in bodies if "logprobs" not in body]
    proof = [body for body in bodies if "logprobs" in body]
    assert len(proof) == 2 * (len(WORDS) + 1) <= 2 * (PROBES + 1) and len(written) == 2 * len(WORDS)
    assert {len(body["messages"]) for body in proof} == {1, 7}
    assert len({body["seed"] for body in written}) == len(written)
    assert all(WHOLE_DISTRIBUTION.items() <= body.items() for body in bodies)
    assert {(body["max_tokens"], body["temperature"]) for body in written} == {(4, 0.5)}
    assert set(table["response_a"]).isdisjoint(table["response_b"]) and not table["finished_a"].any()
    server.requests.clear()
    stage.run(place, silent)
    assert all("logprobs" in body for _, body, _ in server.requests)
    assert pl.read_parquet(place.made / "response_pairs.parquet").equals(table)


def test_a_model_that_was_only_pretrained_stops_where_it_would_speak_for_the_user(
    server: Server, tiny_model: Path, tmp_path: Path
) -> None:
    from ccai_dagster.training.chat_template import fit_chat_template
    from ccai_dagster.training.model_folder import load_model, load_tokenizer, save_model

    tokenizer = load_tokenizer(tiny_model)
    tokenizer.chat_template = None
    fit_chat_template(tokenizer, "model.source")
    save_model(load_model(tiny_model), tokenizer, tmp_path / "pretrained")
    serve(server, tmp_path / "pretrained")
    pairs_stage(server, tmp_path / "pretrained").run(folder(tmp_path / "stage"), silent)
    stops = [(body.get("stop"), "logprobs" in body) for _, body, _ in server.requests]
    assert set(map(str, stops)) == {str((["\n\nHuman:"], False)), str((None, True))}


def test_a_server_with_another_model_is_refused_before_it_writes(
    server: Server, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    serve(server, other_model)
    with pytest.raises(
        ConsultationError, match=r"^sampling\.public/supervised_policy: .* held holds another model: "
    ) as error:
        pairs_stage(server, tiny_model).run(folder(tmp_path), silent)
    assert str(error.value).endswith(
        f"It has to serve the model in {tiny_model}, with the chat template in that folder."
    )
    assert all("logprobs" in body for _, body, _ in server.requests)


@pytest.mark.parametrize(("shift", "same"), [(0.019, True), (-0.019, True), (0.021, False)])
def test_another_number_format_is_told_from_another_model_by_a_bound(
    server: Server, tiny_model: Path, tmp_path: Path, shift: float, same: bool
) -> None:
    serve(server, tiny_model, shift)
    if same:
        found = pairs_stage(server, tiny_model).run(folder(tmp_path), silent).provenance
        assert "0.0190 nats" in found["public/supervised_policy proven by"]
    else:
        with pytest.raises(ConsultationError, match=r"another model.*0\.0210 nats a token \(bound 0\.02\)"):
            pairs_stage(server, tiny_model).run(folder(tmp_path), silent)


class Writer:
    """A model in this process that finds each token of a response as likely as the number that this is."""

    def generate(self, conversations: list[Any], **how: Any) -> list[Response]:
        assert how["temperature"] == HIGH
        return [Response("-6", False)] * len(conversations)

    def log_likelihoods(self, conversations: list[Any], responses: list[str]) -> np.ndarray:
        if conversations[0][-1] == ("user", "How?"):
            raise ConsultationError("the tokens of the response join with those before it")
        return np.array([[4 * float(each), 4.0] for each in responses])


@pytest.mark.parametrize(("there", "refused"), [("-6", False), ("-4.1", False), ("-3.9", True)])
def test_a_server_that_leaves_unlikely_tokens_out_is_refused(server: Server, there: str, refused: bool) -> None:
    server.answer = lambda body: (200, chat(there, {"content": []}))
    asked = [[("user", text)] for text in WORDS]
    model = replace(server.model, setting="sampling.base_model")
    if refused:
        with pytest.raises(
            ConsultationError, match=r"by 2\.1 nats a token \(bound 2\).*sampling\.base_model\.server\.arg"
        ):
            with_unlikely_tokens(model, Writer(), asked)
    else:
        assert f"by {6 + float(there):.1f} nats" in with_unlikely_tokens(model, Writer(), asked)
    assert {body["temperature"] for _, body, _ in server.requests} == {HIGH}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            (200, chat("Yes", {"content": [{"token": "Y", "logprob": -1.0}] * 40})),
            "only 0 of 6 answers have the tokens",
        ),
        ((200, chat("Yes")), "has no `choices.0.logprobs.content`"),
        ((404, {"error": {"message": "The model `held` does not exist."}}), r"status 404: 'The model `held` does not"),
        ((400, {"error": {"message": "unknown field top_k"}}), r"arguments to \{top_k: null\}"),
    ],
)
def test_a_server_that_cannot_be_held_against_this_process_is_refused_with_the_setting(
    server: Server, tiny_model: Path, tmp_path: Path, answer: tuple[int, Any], why: str
) -> None:
    server.answer = lambda body: answer
    with pytest.raises(ConsultationError, match=rf"^sampling\.public/supervised_policy: .*{why}.*{tiny_model}"):
        pairs_stage(server, tiny_model).run(folder(tmp_path), silent)


def test_a_prompt_that_the_server_cannot_read_is_named(server: Server, tiny_model: Path, tmp_path: Path) -> None:
    serve(server, tiny_model)
    holding = server.answer
    beyond = {"error": {"code": 400, "message": "request (31 tokens) exceeds the available context size (8 tokens)"}}
    server.answer = lambda body: (400, beyond) if "logprobs" not in body and "letter" in str(body) else holding(body)
    with pytest.raises(ConsultationError, match=r"context size.*question begins: 'Please tell me how I can write"):
        pairs_stage(server, tiny_model).run(folder(tmp_path), silent)


def test_each_model_that_is_compared_is_proven_on_its_own_server(
    server: Server, tiny_model: Path, other_model: Path, tmp_path: Path
) -> None:
    serve(server, tiny_model)
    table = prompts("held_out").with_columns(relevant_principles=pl.lit(["public/P1"]))
    stage = ComparisonStage(
        model=ModelSettings(dtype="float32", context_tokens=512),
        policies={"base": tiny_model, "public": other_model},
        sampled_by={"base": served(server, "base_model"), "public": served(server, "public/policy")},
        prompts=table,
        method="rules",
        judge_at_chance=False,
        settings=EvaluationSettings(new_tokens=4),
        seed=7,
        **feedback_fields(),
    )
    with pytest.raises(ConsultationError, match=r"^sampling\.public/policy: .*another model"):
        stage.run(folder(tmp_path), silent)


def test_benchmarks_are_answered_by_the_server_that_holds_the_model_as_in_this_process(
    server: Server, tiny_model: Path, tmp_path: Path
) -> None:
    server.answer = answering({"held": TransformersModel(tiny_model, "float32", 1)})
    path = tmp_path / "sums.jsonl"
    rows = [{"id": str(at), "question": text, "answer": "1", "category": "c"} for at, text in enumerate(WORDS)]
    path.write_text("\n".join(map(json.dumps, rows)))
    own = {
        "model": ModelSettings(dtype="float32"),
        "policy": tiny_model,
        "benchmarks": {"sums": EvaluationSet(format="numeric_answer", path=path)},
        "settings": EvaluationSettings(new_tokens=4, batch_size=1),
        "seed": 7,
    }
    here, there = folder(tmp_path / "here"), folder(tmp_path / "there")
    BenchmarksStage(**own).run(here, silent)
    found = BenchmarksStage(**own, sampled_by=served(server, "public/policy")).run(there, silent).provenance
    assert found["public/policy proven by"].startswith(
        f"{len(WORDS) + 1} answers, which differ from this process by 0.0000"
    )
    tables = [pl.read_parquet(place.made / "sums.parquet") for place in (here, there)]
    assert tables[0].height == len(WORDS) and tables[0].equals(tables[1])
    asked = [body for _, body, _ in server.requests if "logprobs" not in body]
    assert [body["temperature"] for body in asked] == [0] * len(WORDS)


def feedback_fields() -> dict[str, Any]:
    from ccai_dagster.consultation.settings import FeedbackSettings, SentenceModelSettings, TunedJudgeSettings

    return {
        "feedback": FeedbackSettings(),
        "base_model": Path("/nowhere"),
        "feedback_model": None,
        "tuned_judge": TunedJudgeSettings(),
        "sentence_model": SentenceModelSettings(),
        "cache": Path("/nowhere"),
    }


# The setting

ALL = ["base_model", *(f"{arm}/{stage}" for arm in ("public", "standard") for stage in ("supervised_policy", "policy"))]


@pytest.fixture
def town(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLE, tmp_path / "town"))


def versions(town: Path, names: list[str], **changes: Any) -> dict[str, str | None]:
    """The code versions of all assets where these models are served."""
    path = town / "consultation.yaml"
    content = yaml.safe_load((SAMPLE / "consultation.yaml").read_text())
    own = {name: {"server_url": "http://h", "server_model": "m", **changes} for name in names}
    content["profiles"]["demo"]["sampling"] = own
    path.write_text(yaml.safe_dump(content))
    consultation = read_consultation(town)
    made = [each for room in (feedback, training, evaluation) for each in room.build(consultation)]
    return {
        key.to_user_string(): version
        for each in made
        if hasattr(each, "code_versions_by_key")
        for key, version in each.code_versions_by_key.items()
    }


def test_what_servers_write_is_made_anew_and_nothing_else_and_not_for_another_address(town: Path) -> None:
    def changed(names: list[str], **changes: Any) -> set[str]:
        return {key for key, version in versions(town, names, **changes).items() if version != plain[key]}

    plain = versions(town, [])
    arms = ("public", "standard")
    revised = {f"{arm}/revisions" for arm in arms}
    sampled = {f"{arm}/response_pairs" for arm in arms}
    assert changed(["base_model"]) == revised
    assert changed(ALL[1::2]) == sampled
    written = {f"{arm}/{each}" for arm in ("base", *arms) for each in evaluation.WRITTEN}
    asked = {f"{arm}/{each}" for arm in ("base", *arms) for each in read_consultation(town).file.benchmarks}
    assert changed(ALL) == revised | sampled | written | asked | {"comparisons"}
    first = versions(town, ALL)
    assert first == versions(town, ALL, server_url="http://other", server_model="n", server={"timeout": 5})
    assert first != versions(town, ALL, server={"arguments": {"top_k": None}})


class Asked(Exception):
    """Ends an asset where its stage would begin."""


def stage_of(town: Path, key: str, monkeypatch: pytest.MonkeyPatch, **given: pl.DataFrame) -> Any:
    """Run an asset until its stage would begin, and return that."""

    def measure(context: Any, launcher: Any, tracking: Any, stage: Any, arm: str) -> None:
        raise Asked(stage)

    consultation = read_consultation(town)
    made = [each for room in (feedback, evaluation) for each in room.build(consultation)]
    (asset,) = [each for each in made if dg.AssetKey.from_user_string(key) in getattr(each, "keys", ())]
    models = type("Models", (), {"folder": lambda self, digest: Path("/models") / digest})()
    resources = {"launcher": None, "models": models, "tracking": None}
    for room in (feedback, evaluation):
        monkeypatch.setattr(room, "measure", measure)
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(Asked) as asked:
        list(asset(dg.build_asset_context(resources=resources, instance=instance), **given))
    return asked.value.args[0]


def test_every_stage_is_told_who_writes(town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(town, ALL)
    model = pl.DataFrame({"model_digest": ["d"]})
    given = {"prompts": prompts("revision"), "constitution": pl.DataFrame()}
    revisions = stage_of(town, "public/revisions", monkeypatch, revising_model=model, **given)
    assert revisions.sampled_by == ServedModel(server_url="http://h", server_model="m", name="base_model")
    pairs = stage_of(town, "public/response_pairs", monkeypatch, supervised_policy=model, prompts=given["prompts"])
    assert pairs.sampled_by.name == "public/supervised_policy"
    monkeypatch.setattr(evaluation, "scored_by", lambda table: "letters")
    monkeypatch.setattr(evaluation, "scored_elo_at_chance", lambda table: False)
    monkeypatch.setattr(evaluation, "scoring_model", lambda models, table: None)
    tables = {"judge_calibration": pl.DataFrame(), "prompts": given["prompts"]}
    compared = stage_of(town, "comparisons", monkeypatch, base_model=model, public=model, standard=model, **tables)
    benchmarks = stage_of(town, "public/sample_bias", monkeypatch, policy=model)
    assert benchmarks.sampled_by.name == "public/policy"
    assert {arm: each.name for arm, each in compared.sampled_by.items()} == {
        "base": "base_model",
        "public": "public/policy",
        "standard": "standard/policy",
    }


def test_a_request_without_a_server_is_the_one_of_before(tiny_model: Path) -> None:
    stage = ResponsePairsStage(
        model=ModelSettings(),
        supervised_policy=tiny_model,
        prompts=prompts("preference"),
        settings=PairSettings(),
        seed=7,
    )
    assert "sampled_by" not in stage.model_dump()


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["public/supervised_policy"], "no server for standard/supervised_policy, and for others"),
        (["public/policy", "standard/policy"], "no server for base_model, and for others"),
        (["base_model", "public/policy"], "no server for standard/policy, and for others"),
        (["public"], "names public; there are base_model, public/policy, public/supervised_policy, standard/policy"),
        (["revision_model"], "names revision_model; there are"),
    ],
)
def test_arms_that_would_differ_in_who_writes_for_them_are_refused(town: Path, names: list[str], why: str) -> None:
    with pytest.raises(
        ConsultationError, match=rf"consultation\.yaml: `profiles\.demo\.sampling` {'has ' * (why[:2] == 'no')}{why}"
    ):
        versions(town, names)


def test_conversations_are_opened_with_servers_that_hold_what_was_evaluated(
    server: Server, tiny_model: Path, other_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CCAI_HOME", str(tmp_path / "home"))
    home, town = Home(tmp_path / "home", "town"), tmp_path / "town"
    shutil.copytree(SAMPLE, town)
    settings = yaml.safe_load((town / "consultation.yaml").read_text())
    settings["model"] = {"source": f"folder:{tiny_model}", "dtype": "float32", "context_tokens": 512}
    (town / "consultation.yaml").write_text(yaml.safe_dump(settings))
    store, tables = ModelStore(url=home.models_url, cache=""), Path(home.tables_url)
    for name, model in zip(NAMES, (tiny_model, tiny_model, other_model), strict=True):
        (tables / name).parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame({"model_digest": [store.add(model)]}).write_parquet(tables / f"{name}.parquet")
    small_comparisons().write_parquet(tables / "comparisons.parquet")
    serve(server, tiny_model)

    words = ["ratings", "converse", "--arms", "public,standard", "--quality", "helpfulness", "--n", "40"]
    unnamed = CliRunner().invoke(app, [*words, "--consultation", str(town)])
    assert unnamed.exit_code == 1 and "write --server public=ADDRESS,MODEL" in " ".join(unnamed.output.split())
    words += [each for arm in ("public", "standard") for each in ("--server", f"{arm}={server.model.url},held")]
    refused = CliRunner().invoke(app, [*words, "--consultation", str(town)])
    assert refused.exit_code == 1 and "sampling.standard/policy" in refused.output and not (town / "ratings").exists()
    shutil.copy(tables / "base_model.parquet", tables / "standard" / "policy.parquet")
    opened = CliRunner().invoke(app, [*words, "--consultation", str(town)])
    assert opened.exit_code == 0 and "public: the server holds its model. 4 answers" in opened.output, opened.output
    (found,) = read_open(town / "ratings").values()
    assert [each.arm for each in found.arms] == ["public", "standard"] and found.is_current(small_comparisons())
