from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from ccai_dagster.consultation.settings import PreferenceModelSettings
from ccai_dagster.contracts import HELPFULNESS_PAIRS, PREFERENCE_PAIRS
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.training import trainer
from ccai_dagster.training.comparisons import (
    comparisons,
    cut_share_of_sampled,
    exchange,
    learnable,
    learnt,
    ordered_ids,
    training_order,
)
from ccai_dagster.training.exchange_scores import ExchangeScorer
from ccai_dagster.training.model_folder import load_model, load_tokenizer, rounded_to_bfloat16, save_model
from ccai_dagster.training.preference_model import train_preference_model

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
                "finished_a": at != 1,
                "finished_b": True,
                "principle_id": "P1",
                "forward_probability": label,
                "reversed_probability": label,
                "probability_a": label,
                "forward_reasoning": None,
                "reversed_reasoning": None,
                "clamped": False,
                "answer_mass": 0.9,
                "status": "identical" if identical else "unanswered" if label is None else "labelled",
                "method": "letters",
                "feedback_model": "judge",
                "judge_at_chance": False,
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
        ("harmlessness", "pair_1", GOOD, BAD, 0.5, 0.0),
        ("harmlessness", "pair_2", BAD, GOOD, pytest.approx(0.7), 0.25),
        ("harmlessness", "pair_3", GOOD, GOOD, 0.5, 0.0),
        ("helpfulness", "h0", GOOD, BAD, 1.0, 1.0),
        ("helpfulness", "h1", BAD, GOOD, 0.5, 1.0),
    ]
    assert table["labelled"].to_list() == [True, False, True, False, True, True]


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


def test_what_teaches_nothing_keeps_its_place_so_that_arms_go_in_step() -> None:
    human = helpfulness(*[0.1] * 6)
    full = comparisons(harmlessness(*[0.9] * 8), human, 1.0, 0.2, seed=1)
    gaps = comparisons(harmlessness(0.3, None, *[0.6] * 5, same=1), human, 1.0, 0.2, seed=1)
    for table in (full, gaps):
        assert len(ordered_ids(learnable(table), 5, 8, seed=1)) == 40
    assert ordered_ids(learnable(full), 5, 8, seed=1) == ordered_ids(learnable(gaps), 5, 8, seed=1)
    assert ordered_ids(learnable(full), 5, 8, seed=1) != ordered_ids(learnable(full), 5, 8, seed=2)


def test_a_batch_holds_exchanges_of_similar_length_and_the_order_still_is_that_of_all_arms() -> None:
    prompts = pl.Series("prompt", ["word " * (1 + 7 * at % 64) for at in range(64)])
    human = helpfulness(*[0.1] * 64).with_columns(prompts)
    table = comparisons(harmlessness(*[0.9] * 64), human, 1.0, 0.2, seed=1)
    training = learnable(table)
    steps, size = 6, 8
    grouped = training_order(training, steps, size, seed=3)
    assert sorted(grouped) == sorted(trainer.drawn_order(training.height, steps * size, 3))
    lengths, sources = training["prompt"].str.len_chars().to_list(), training["source"].to_list()

    def batches(order: list[int]) -> list[list[int]]:
        return [order[start : start + size] for start in range(0, len(order), size)]

    def padding(order: list[int]) -> int:
        long = [[lengths[at] for at in batch if sources[at] == "helpfulness"] for batch in batches(order)]
        return sum(max(batch) * len(batch) - sum(batch) for batch in long if batch)

    assert padding(grouped) < 0.5 * padding(trainer.drawn_order(training.height, steps * size, 3))
    human_share = sum(sources[at] == "helpfulness" for at in grouped) / len(grouped)
    for batch in batches(grouped):
        assert abs(sum(sources[at] == "helpfulness" for at in batch) - human_share * size) <= 1
    means = [sum(lengths[at] for at in batch) for batch in batches(grouped)]
    assert means != sorted(means)


def test_what_was_cut_off_is_known_of_the_side_it_belongs_to() -> None:
    # The first response of the second pair was cut off; there it is the other one, and the preferred one where it wins.
    for label, finished in ((0.2, (True, False)), (0.8, (False, True))):
        table = comparisons(harmlessness(0.8, label), helpfulness(0.1), 1.0, 0.5, seed=1)
        sides = table.select("preferred_finished", "other_finished").rows()
        assert sides == [(True, True), finished, (True, True)]
        assert cut_share_of_sampled(table) == 1 / 4


@pytest.mark.torch
def test_the_end_of_a_turn_is_taught_only_where_a_response_ended_by_itself(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)

    def taught(prompt: str, response: str, finished: bool, max_tokens: int) -> str:
        said = learnt(tokenizer, exchange(tokenizer, prompt, response, max_tokens), finished)
        return str(tokenizer.decode(said.tokens[said.prompt_tokens :]))

    assert taught("Why?", "Because.", True, 200) == "Because.<|im_end|>\n"
    assert taught("Why?", "Because of the", False, 200) == "Because of the"
    assert taught("Why? " * 80, "Because.", True, 48) == "Because.<|im_end|>\n"
    shortened = taught("Why?", "Because. " * 80, True, 48)
    assert shortened.startswith("Because. Because.") and "<|im_end|>" not in shortened


@pytest.mark.torch
def test_no_character_is_cut_in_two(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    for max_tokens in range(40, 70):
        cut = exchange(tokenizer, "\u6f22\u5b57" * 40, "\u6f22\u5b57" * 40, max_tokens)
        assert cut.shortened and len(cut.tokens) <= max_tokens
        assert "\ufffd" not in tokenizer.decode(cut.tokens), max_tokens


def test_nothing_to_learn_says_why() -> None:
    nothing = comparisons(harmlessness(None, same=1), helpfulness(1.0).clear(), 1.0, 0.2, seed=1)
    with pytest.raises(ConsultationError, match="no preference to learn"):
        learnable(nothing)
    held_out = comparisons(harmlessness(0.9), helpfulness(1.0).clear(), 1.0, 0.999999, seed=1)
    with pytest.raises(ConsultationError, match="All 1 labelled comparisons are held out"):
        learnable(held_out)


@pytest.mark.torch
def test_long_exchanges_are_shortened_and_still_end_their_turn(tiny_model: Path) -> None:
    tokenizer = load_tokenizer(tiny_model)
    whole = exchange(tokenizer, "Why?", "Because.", 200)
    assert not whole.shortened
    assert tokenizer.decode(whole.tokens) == (
        "<|im_start|>user\nWhy?<|im_end|>\n<|im_start|>assistant\nBecause.<|im_end|>\n"
    )
    assert tokenizer.decode(whole.tokens[whole.prompt_tokens :]) == "Because.<|im_end|>\n"
    for prompt, response in (("Why? " * 80, "Because."), ("Why?", "Because. " * 80), ("a b " * 99, "c d " * 99)):
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
    assert (rounded_to_bfloat16(-updated, generator).float() + exact).mean().item() == pytest.approx(-1e-5, rel=0.1)


@pytest.mark.torch
def test_a_loss_that_is_no_number_stops_and_leaves_no_model(tiny_model: Path, tmp_path: Path) -> None:
    import torch

    broken = load_model(tiny_model)
    with torch.no_grad():
        broken.model.layers[0].mlp.down_proj.weight[0, 0] = torch.nan
    save_model(broken, load_tokenizer(tiny_model), tmp_path / "broken")
    settings = PreferenceModelSettings(steps=2, batch_size=2, lora_rank=2, max_tokens=48)
    with pytest.raises(ConsultationError, match="step 1: loss is nan"):
        train_preference_model(
            tmp_path / "broken",
            harmlessness(*[0.9] * 6),
            helpfulness(1.0).clear(),
            1.0,
            settings,
            1,
            tmp_path / "work",
            tmp_path / "model",
        )
    assert not (tmp_path / "model").exists()
    assert not list((tmp_path / "work").rglob("checkpoint-*"))


@pytest.mark.torch
def test_a_preference_model_learns_the_labels_in_a_repeatable_way(tiny_model: Path, tmp_path: Path) -> None:
    settings = PreferenceModelSettings(
        steps=12, batch_size=4, learning_rate=5e-3, lora_rank=4, max_tokens=48, held_out_share=0.3
    )
    labels = harmlessness(*[0.95] * 12, None, same=2), helpfulness(*[0.1] * 12)

    outcomes = {}

    def train(name: str, weight: float = 0.5) -> dict[str, float]:
        folders = tmp_path / name / "work", tmp_path / name / "model"
        outcomes[name] = train_preference_model(tiny_model, *labels, weight, settings, 3, *folders)
        return outcomes[name].metrics

    metrics = train("one")
    assert (metrics["pairs_unanswered"], metrics["pairs_identical"], metrics["pairs_shortened"]) == (1, 2, 0)
    assert metrics["train_n"] + metrics["held_out_harmlessness_n"] + metrics["held_out_helpfulness_n"] == 24
    assert metrics["held_out_harmlessness_accuracy"] == 1.0
    assert metrics["held_out_helpfulness_accuracy"] == 1.0
    held_out = outcomes["one"].tables["held_out"]
    assert held_out.group_by("source").len().sort("source")["len"].to_list() == [
        metrics["held_out_harmlessness_n"],
        metrics["held_out_helpfulness_n"],
    ]
    assert (held_out["margin"] > 0).all()
    assert outcomes["one"].tables["calibration_curve"]["n"].sum() == held_out.height
    assert metrics["loss_last"] < metrics["loss_first"]
    assert train("two") == metrics
    assert folder_digest(tmp_path / "one" / "model") == folder_digest(tmp_path / "two" / "model")
    assert train("three", weight=5.0)["loss_first"] > metrics["loss_first"]
    said = [("Hello", GOOD), ("Hello", BAD), ("Hello", GOOD)]
    scorer = ExchangeScorer(tmp_path / "one" / "model", batch_size=3)
    good, bad, again = scorer.scores_of_texts(said, 48)
    assert good > bad
    assert again == pytest.approx(good, abs=1e-5)
    assert scorer.scores([exchange(scorer.tokenizer, "Hello", BAD, 48)]) == pytest.approx([bad], abs=1e-5)


@pytest.mark.torch
def test_a_score_is_the_mean_over_the_response_of_what_the_middle_layer_makes_of_it(
    tiny_model: Path, tmp_path: Path
) -> None:
    import torch

    model = load_model(tiny_model, scores=True)
    assert not model.score.weight.any()  # a new head begins with nil
    with torch.no_grad():
        model.score.weight.copy_(torch.linspace(-1, 1, model.score.weight.numel()))
    save_model(model, load_tokenizer(tiny_model), tmp_path / "model")
    scorer = ExchangeScorer(tmp_path / "model", batch_size=2)
    said = [exchange(scorer.tokenizer, "Why?", text, 64) for text in (GOOD, "No.", "Fair.")]
    whole = load_model(tiny_model).eval()
    middle = len(whole.model.layers) // 2
    expected = []
    for each in said:
        with torch.no_grad():
            states = whole(torch.tensor([each.tokens]), output_hidden_states=True).hidden_states[middle]
            of_tokens = whole.model.norm(states)[0] @ model.score.weight[0]
        expected.append(of_tokens[each.prompt_tokens : -2].mean().item())  # without the end of the turn
    assert len({round(score, 3) for score in expected}) == 3
    assert scorer.scores(said) == pytest.approx(expected, abs=1e-5)


@pytest.mark.torch
def test_a_preference_model_that_reads_the_last_token_is_refused(tiny_model: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForSequenceClassification

    AutoModelForSequenceClassification.from_pretrained(tiny_model, num_labels=1).save_pretrained(tmp_path / "model")
    with pytest.raises(ConsultationError, match=r"reads the last token.*Materialize `preference_model` again"):
        load_model(tmp_path / "model", scores=True)


def test_bad_labels_are_errors(tmp_path: Path) -> None:
    folders = tmp_path / "work", tmp_path / "model"
    settings = PreferenceModelSettings()
    with pytest.raises(ConsultationError, match="harmlessness_weight is -1"):
        train_preference_model(tmp_path, harmlessness(0.9), helpfulness(1.0), -1.0, settings, 1, *folders)
    with pytest.raises(ConsultationError, match="no preference to learn"):
        train_preference_model(
            tmp_path, harmlessness(None, same=1), helpfulness(1.0).clear(), 1.0, settings, 1, *folders
        )
