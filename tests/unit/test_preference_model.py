from __future__ import annotations

from math import log
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ccai_dagster.contracts import HELPFULNESS_PAIRS, PREFERENCE_PAIRS
from ccai_dagster.digest import folder_digest
from ccai_dagster.errors import ConsultationError
from ccai_dagster.settings import PreferenceModelSettings
from ccai_dagster.training.exchanges import exchange
from ccai_dagster.training.model_folder import load_model, load_tokenizer, rounded_to_bfloat16
from ccai_dagster.training.preference_model import score_differences, train_preference_model
from ccai_dagster.training.preference_pairs import comparisons, held_out_metrics

GOOD, BAD = "The assistant should be fair.", "No, that is not right."


def harmlessness(*labels: float | None, same: int = 0) -> pl.DataFrame:
    rows = []
    for at, label in enumerate([*labels, *[0.5] * same]):
        identical = at >= len(labels)
        rows.append(
            {
                "pair_id": f"pair_{at}",
                "prompt_id": f"q{at}",
                "prompt": f"Tell me {at}",
                "response_a": GOOD,
                "response_b": GOOD if identical else BAD,
                "principle_id": "P1",
                "forward_probability": label,
                "reversed_probability": label,
                "probability_a": label,
                "answer_mass": 0.9,
                "status": "identical" if identical else "unanswered" if label is None else "labelled",
                "method": "letters",
                "feedback_model": "judge",
            }
        )
    return PREFERENCE_PAIRS.build(rows)


def helpfulness(*labels: float) -> pl.DataFrame:
    return HELPFULNESS_PAIRS.build(
        [
            {
                "pair_id": f"h{at}",
                "prompt": f"Why {at}?",
                "response_a": BAD,
                "response_b": GOOD,
                "probability_a": label,
                "source": "people",
            }
            for at, label in enumerate(labels)
        ]
    )


def test_comparisons_are_turned_weighted_and_cleaned() -> None:
    table = comparisons(harmlessness(0.8, None, 0.3, same=1), helpfulness(0.0, 0.5), 0.25, 0.5, seed=1)
    assert table.select("source", "pair_id", "preferred", "other", "target", "weight").rows() == [
        ("harmlessness", "pair_0", GOOD, BAD, 0.8, 0.25),
        ("harmlessness", "pair_2", BAD, GOOD, pytest.approx(0.7), 0.25),
        ("helpfulness", "h0", GOOD, BAD, 1.0, 1.0),
        ("helpfulness", "h1", BAD, GOOD, 0.5, 1.0),
    ]


def test_what_is_held_out_depends_on_ids_alone() -> None:
    many = comparisons(harmlessness(*[0.9] * 200), helpfulness(*[0.1] * 200), 1.0, 0.2, seed=1)
    few = comparisons(harmlessness(*[0.4] * 100), helpfulness(0.1).clear(), 2.0, 0.2, seed=1)
    assert 50 <= many["held_out"].sum() <= 110
    shared = many.join(few, on=["source", "pair_id"], suffix="_few")
    assert shared.height == 100
    assert shared["held_out"].equals(shared["held_out_few"], check_names=False)


def test_at_most_as_many_human_comparisons_are_learnt_from_as_there_are_ai_labels() -> None:
    table = comparisons(harmlessness(*[0.9] * 5), helpfulness(*[0.1] * 200), 1.0, 0.2, seed=1)
    human = table.filter(pl.col("source") == "helpfulness")
    whole = comparisons(harmlessness(*[0.9] * 300), helpfulness(*[0.1] * 200), 1.0, 0.2, seed=1)
    assert (~human["held_out"]).sum() == 5
    assert human["held_out"].sum() == whole.filter(pl.col("source") == "helpfulness")["held_out"].sum()


def test_held_out_figures_of_a_hand_worked_case() -> None:
    figures = held_out_metrics("helpfulness", [log(3), 0.0, -log(3), 5.0], [1.0, 0.75, 1.0, 0.5])
    assert figures["held_out_helpfulness_n"] == 3
    assert figures["held_out_helpfulness_accuracy"] == 0.5
    softplus_5 = 5.006715348489118
    expected = (log(4 / 3) + log(2) + log(4) + (0.5 * softplus_5 + 0.5 * (softplus_5 - 5))) / 4
    assert figures["held_out_helpfulness_cross_entropy"] == pytest.approx(expected)
    entropy = -(0.75 * log(0.75) + 0.25 * log(0.25))
    assert figures["held_out_helpfulness_label_entropy"] == pytest.approx((entropy + log(2)) / 4)
    assert held_out_metrics("x", [], []) == {"held_out_x_n": 0.0}


@given(st.lists(st.tuples(st.floats(-50, 50), st.floats(0.5, 1)), min_size=1, max_size=20))
def test_no_scores_beat_the_labels_own_entropy(pairs: list[tuple[float, float]]) -> None:
    figures = held_out_metrics("x", [margin for margin, _ in pairs], [target for _, target in pairs])
    assert figures["held_out_x_cross_entropy"] >= figures["held_out_x_label_entropy"] - 1e-9


@pytest.mark.torch
def test_long_exchanges_are_shortened_and_still_end_their_turn(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    whole = exchange(tokenizer, "Why?", "Because.", 200)
    assert not whole.shortened
    assert tokenizer.decode(whole.tokens) == (
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause.<|im_end|>\n"
    )
    assert tokenizer.decode(whole.tokens[whole.prompt_tokens :]) == "Because.<|im_end|>\n"
    for prompt, response in (
        ("Why? " * 80, "Because."),
        ("Why?", "Because. " * 80),
        ("a b " * 99, "c d " * 99),
    ):
        cut = exchange(tokenizer, prompt, response, 48)
        assert cut.shortened
        assert len(cut.tokens) <= 48
        text = tokenizer.decode(cut.tokens)
        assert text.startswith("<|im_start|>user\n")
        assert text.endswith("<|im_end|>\n")
        assert len(cut.tokens) - cut.prompt_tokens > 5
    with pytest.raises(ValueError, match="no room"):
        exchange(tokenizer, "Why? " * 80, "Because.", 10)


@pytest.mark.torch
def test_rounding_keeps_the_mean_of_updates_too_small_for_bfloat16() -> None:
    import torch

    generator = torch.Generator().manual_seed(0)
    exact = torch.full((100_000,), 0.1).bfloat16().float()
    updated = exact + 1e-5
    assert torch.equal(updated.bfloat16().float(), exact)
    rounded = rounded_to_bfloat16(updated, generator).float()
    assert (rounded - exact).mean().item() == pytest.approx(1e-5, rel=0.1)
    assert torch.equal(rounded_to_bfloat16(exact, generator).float(), exact)
    assert (rounded_to_bfloat16(-updated, generator).float() + exact).mean().item() == pytest.approx(
        -1e-5, rel=0.1
    )


@pytest.mark.torch
def test_a_preference_model_learns_the_labels_in_a_repeatable_way(tiny_model: Path, tmp_path: Path) -> None:
    settings = PreferenceModelSettings(
        steps=12, batch_size=4, learning_rate=5e-3, lora_rank=4, max_tokens=48, held_out_share=0.3
    )
    labels = harmlessness(*[0.95] * 12, None, same=2), helpfulness(*[0.1] * 12)

    def train(name: str, weight: float = 0.5) -> dict[str, float]:
        folders = tmp_path / name / "work", tmp_path / name / "model"
        return train_preference_model(tiny_model, *labels, weight, settings, 3, *folders).metrics

    metrics = train("one")
    assert (metrics["pairs_unanswered"], metrics["pairs_identical"], metrics["pairs_shortened"]) == (1, 2, 0)
    assert metrics["train_n"] + metrics["held_out_harmlessness_n"] + metrics["held_out_helpfulness_n"] == 24
    assert metrics["held_out_harmlessness_accuracy"] == 1.0
    assert metrics["held_out_helpfulness_accuracy"] == 1.0
    assert metrics["loss_last"] < metrics["loss_first"]
    assert train("two") == metrics
    assert folder_digest(tmp_path / "one" / "model") == folder_digest(tmp_path / "two" / "model")
    assert train("three", weight=5.0)["loss_first"] > metrics["loss_first"]
    tokenizer = load_tokenizer(tmp_path / "one" / "model")
    row = {
        "chosen_ids": exchange(tokenizer, "Hello", GOOD, 48).tokens,
        "rejected_ids": exchange(tokenizer, "Hello", BAD, 48).tokens,
    }
    forward, backward, padded = score_differences(
        tmp_path / "one" / "model",
        [row, {"chosen_ids": row["rejected_ids"], "rejected_ids": row["chosen_ids"]}, row],
        batch_size=3,
    )
    assert forward > 0
    assert backward == pytest.approx(-forward, abs=1e-5)
    assert padded == pytest.approx(forward, abs=1e-5)
    assert load_model(tmp_path / "one" / "model", scores=True).config.pad_token_id == tokenizer.pad_token_id


def test_bad_labels_are_errors(tmp_path: Path) -> None:
    folders = tmp_path / "work", tmp_path / "model"
    settings = PreferenceModelSettings()
    with pytest.raises(ConsultationError, match="harmlessness_weight is -1"):
        train_preference_model(tmp_path, harmlessness(0.9), helpfulness(1.0), -1.0, settings, 1, *folders)
    with pytest.raises(ConsultationError, match="no preference to learn"):
        train_preference_model(
            tmp_path, harmlessness(None, same=1), helpfulness(1.0).clear(), 1.0, settings, 1, *folders
        )
