from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ccai_dagster.consultation.settings import SupervisedSettings
from ccai_dagster.contracts import HELPFULNESS_PAIRS, REVISIONS
from ccai_dagster.core.digest import file_digest, folder_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training import trainer
from ccai_dagster.training.supervised import ordered_ids, supervised_examples, train_supervised_policy, training_order
from ccai_dagster.training.trainer import ends, history_table

SETTINGS = SupervisedSettings(steps=4, batch_size=2, learning_rate=1e-2, lora_rank=4, max_tokens=64)


def revisions(count: int) -> pl.DataFrame:
    return REVISIONS.build(
        [
            {
                "prompt_id": f"q{at}",
                "step": 1,
                "prompt": f"Please tell me {at}.",
                "response": "No.",
                "response_finished": True,
                "principle_id": "P1",
                "request_number": 0,
                "template_version": "2",
                "critique": "Unkind.",
                "critique_finished": True,
                "revision": "The assistant is kind." if at else "",
                "revision_finished": at != 1,
            }
            for at in range(count)
        ]
    )


def helpful(*labels: float) -> pl.DataFrame:
    return HELPFULNESS_PAIRS.build(
        [
            {
                "pair_id": f"h{at}",
                "prompt": "Why?",
                "response_a": "Because.",
                "response_b": "word " * 90,
                "probability_a": label,
                "source": "people",
            }
            for at, label in enumerate(labels)
        ]
    )


def test_what_is_imitated_are_revisions_and_preferred_responses() -> None:
    table = supervised_examples(revisions(2), helpful(0.9, 0.5, 0.2), seed=1)
    assert table.rows() == [
        ("helpful:h0", "Why?", "Because.", True),
        ("helpful:h2", "Why?", "word " * 90, True),
        ("revision:q0:1", "Please tell me 0.", "", True),
        ("revision:q1:1", "Please tell me 1.", "The assistant is kind.", False),
    ]


def test_there_are_at_most_as_many_helpful_responses_as_revisions() -> None:
    many = helpful(*[0.9] * 40)
    table = supervised_examples(revisions(3), many, seed=1)
    assert table["example_id"].str.starts_with("helpful").sum() == 3
    assert table.equals(supervised_examples(revisions(3), many.reverse(), seed=1))
    other = supervised_examples(revisions(3), many, seed=2)
    assert not table.equals(other)


def test_an_empty_response_is_passed_over_and_moves_nothing_else() -> None:
    full = supervised_examples(revisions(5).with_columns(revision=pl.lit("Kind.")), helpful(0.9), seed=1)
    gaps = supervised_examples(revisions(5), helpful(0.9), seed=1)
    one, other = (training_order(table, 12, seed=3) for table in (full, gaps))
    empty = gaps["example_id"].to_list().index("revision:q0:1")
    assert len(one) == len(other) == 12 and empty in one
    assert other[: 12 - one.count(empty)] == [at for at in one if at != empty]
    ids = [
        ordered_ids(table, helpful(0.9), SETTINGS, seed=3)
        for table in (revisions(5), revisions(5).with_columns(revision=pl.lit("Kind.")))
    ]
    assert ids[0] == ids[1] and len(ids[0]) == SETTINGS.steps * SETTINGS.batch_size
    with pytest.raises(ConsultationError, match="nothing to imitate"):
        training_order(supervised_examples(revisions(1), helpful(0.5), seed=1), 4, seed=3)


class Interrupted(Exception):
    pass


@pytest.mark.torch
def test_training_is_repeatable_and_resumes_where_it_stopped(tiny_model: Path, tmp_path: Path) -> None:
    reports: list[tuple[int, int]] = []

    def train(name: str, table: pl.DataFrame, progress: Any = lambda *_: None, seed: int = 5) -> Any:
        folders = tmp_path / name / "work", tmp_path / name / "model"
        return train_supervised_policy(tiny_model, table, helpful(1.0, 0.0), SETTINGS, seed, *folders, progress)

    outcome = train("one", revisions(6), lambda _, done, total: reports.append((done, total)))
    again = train("two", revisions(6).reverse())
    assert reports == [(1, 4), (2, 4), (3, 4), (4, 4)]
    digest = folder_digest(tmp_path / "one" / "model")
    assert folder_digest(tmp_path / "two" / "model") == digest
    assert outcome.history.equals(again.history)
    assert outcome.metrics["examples"] == 7
    assert outcome.metrics["examples_shortened"] == 1
    assert outcome.metrics["cut_share"] == pytest.approx(1 / 6)
    assert outcome.metrics["loss_last"] < outcome.metrics["loss_first"]
    names = {path.name for path in (tmp_path / "one" / "model").iterdir()}
    assert "model.safetensors" in names
    assert not any("adapter" in name or name.endswith((".bin", ".pt")) for name in names)
    weights = [folder / "model.safetensors" for folder in (tiny_model, tmp_path / "one" / "model")]
    assert file_digest(weights[0]) != file_digest(weights[1])

    def stop(_: str, done: int, total: int) -> None:
        if done == 3:
            raise Interrupted

    with pytest.raises(Interrupted):
        train("three", revisions(6), stop)
    assert not (tmp_path / "three" / "model").exists()
    resumed: list[int] = []
    train("three", revisions(6), lambda _, done, total: resumed.append(done))
    assert resumed == [3, 4]
    assert folder_digest(tmp_path / "three" / "model") == digest
    # Checkpoints of a training on other data are not resumed from.
    restarted: list[int] = []
    train("three", revisions(5), lambda _, done, total: restarted.append(done))
    assert restarted == [1, 2, 3, 4]
    assert folder_digest(tmp_path / "three" / "model") != digest


def test_nothing_to_imitate_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConsultationError, match="nothing to imitate"):
        train_supervised_policy(
            tmp_path, revisions(1), helpful(0.5), SETTINGS, 1, tmp_path / "work", tmp_path / "model"
        )


def test_a_batch_is_split_over_processes_and_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    assert trainer.per_device(8, 192) == (8, 1)
    assert trainer.per_device(64, 1024) == (16, 4)
    assert trainer.per_device(3, 50_000) == (1, 3)
    # 49,152 tokens are told apart: of logits a processor holds so many.
    assert trainer.per_device(16, 24, 24 * 49_152) == (16, 1)
    assert trainer.per_device(128, 256, 256 * 49_152) == (8, 16)
    assert trainer.per_device(4, 10, 10**9) == (1, 4)
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert trainer.per_device(64, 1024) == (16, 1)
    with pytest.raises(ConsultationError, match="batch of 6 cannot be divided among 4"):
        trainer.per_device(6, 10)


def test_the_order_of_training_goes_round_evenly() -> None:
    order = trainer.drawn_order(5, 13, seed=1)
    assert sorted(order[:5]) == sorted(order[5:10]) == [0, 1, 2, 3, 4]
    assert len(set(order[10:])) == 3
    assert order[:5] != order[5:10]
    assert order == trainer.drawn_order(5, 20, seed=1)[:13]
    assert order != trainer.drawn_order(5, 13, seed=2)


def test_a_history_keeps_figures_and_no_times() -> None:
    log = [
        {"loss": 2.0, "epoch": 0.5, "step": 2},
        {"loss": 4.0, "epoch": 0.1, "step": 1},
        {"train_runtime": 3.2, "train_samples_per_second": 9.0, "step_time": 0.1, "total_flos": 1e9, "step": 2},
        {"kl": float("nan"), "step": 2},
    ]
    history = history_table(log)
    assert history.rows() == [(1, "loss", 4.0), (2, "loss", 2.0)]
    assert ends(history, "loss") == (4.0, 2.0)
    assert ends(history, "reward") is None
