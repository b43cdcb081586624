"""The card of a trained model: what it is, what it was trained on, who judged, and what it is not good for.

Everything in it is read from tables; nothing is said about a model that was not measured. The card is kept beside
the model (in MLflow), not in its folder: the folder's digest is the model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from ccai_dagster.core.text import markdown
from ccai_dagster.feedback.judge_accuracy import judge_verdict, strength_sentence, told
from ccai_dagster.training.settings_of_arms import REVISION_MODEL

_WHAT: Mapping[str, str] = {
    "supervised_policy": "A language model fine-tuned on responses of a language model, criticised and revised under "
    "principles of the constitution, and on helpful responses that people preferred.",
    "preference_model": "A scorer of responses, no chat model: trained on the feedback model's labels under principles "
    "of the constitution and on people's comparisons of helpfulness. Its scores can only be compared with each other. "
    "It is the lower half of the untrained model, its score the mean over the tokens of the response; loaded as a "
    "sequence classifier it would be read at the last token, which means nothing.",
    "policy": "A language model: the supervised policy after training on the arm's preferences.",
}
SYSTEM_TURN = "system_turn"
"""Name in the untrained model's settings of what its chat template says before every conversation, if anything."""
MENDED = "chat_template"
"""Name in the untrained model's settings of what was worked round in its chat template, if anything."""
_CUT: Mapping[str, str] = {
    "cut_share": "the responses of a model that it was trained on",
    "cut_share_last": "its responses in the last steps of training",
    "held_out_cut_share": "its responses to held-out prompts",
}
"""What the figures of a training call the shares of responses that did not end by themselves."""


def model_card(
    record: Mapping[str, Any],
    base_model: Mapping[str, Any],
    source: str,
    title: str,
    constitution: pl.DataFrame,
    method: str,
    calibration: pl.DataFrame,
    alike: bool,
) -> str:
    """Write the card of one model.

    Args:
        record: Its row of MODEL; `stage` is one of `ARM_STAGES`.
        base_model: The row of MODEL of the untrained model.
        source: Where the untrained model is from, as consultation.yaml says.
        title: Of the consultation.
        constitution: CONSTITUTION it was trained on.
        method: How the feedback model was asked, as the ledger says.
        calibration: JUDGE_CALIBRATION.
        alike: Whether this model of every arm was trained with the same settings.

    Returns:
        Markdown, in which no text from outside is markup.
    """
    figures, turn = json.loads(record["metrics"]), system_turn(base_model)
    shared = "equal in every arm" if alike else "not equal in every arm: the table training_settings tells in what"
    trusted, verdict = judge_verdict([method], calibration)
    lines = [
        f"# {record['stage'].replace('_', ' ').capitalize()} of the arm {markdown(record['arm'])}",
        "",
        _WHAT[record["stage"]],
        "",
        "| | |",
        "| --- | --- |",
        f"| consultation | {markdown(title)} |",
        f"| model | `{record['model_digest']}` |",
        f"| trained from | `{record['parent_digest']}` |",
        f"| untrained model | {markdown(source)}, `{base_model['model_digest']}` |",
        *([f"| before every conversation | “{markdown(turn)}”, by its chat template, in every arm |"] if turn else []),
        *(f"| {markdown(what)} of its chat template | {markdown(how)} |" for what, how in mended(base_model).items()),
        f"| constitution | `{record['constitution_digest']}`, {constitution.height} principles |",
        f"| everything else | `{record['settings_digest']}` ({shared}) |",
        "",
        "## The constitution",
        "",
        *(f"1. {markdown(text)}" for text in constitution.sort("principle_id")["text"]),
        "",
        "## The feedback model",
        "",
        *_judge(record, method, calibration),
        "",
        "## Figures of its training",
        "",
        *(f"- {markdown(name)}: {value:.4g}" for name, value in sorted(figures.items())),
        "",
        "## Limits",
        "",
        "- It says what training on this constitution did to this model, not what the public would say to it.",
        "- It was made to be compared with the other arms of its consultation. Nobody has tested it for use by people.",
        f"- It has the knowledge, the languages and the faults of the untrained model ({markdown(source)}).",
        *([] if trusted else [f"- {verdict}"]),
        *_cut_off(figures),
    ]
    return "\n".join(lines) + "\n"


def system_turn(base_model: Mapping[str, Any]) -> str:
    """Return what the chat template of the untrained model says before every conversation; empty if nothing."""
    return str(json.loads(base_model["settings"]).get(SYSTEM_TURN, ""))


def mended(base_model: Mapping[str, Any]) -> dict[str, str]:
    """Return what was worked round in the chat template of the untrained model, and how."""
    return dict(json.loads(base_model["settings"]).get(MENDED, {}))


def _cut_off(figures: Mapping[str, float]) -> list[str]:
    told = [f"{figures[name]:.0%} of {which}" for name, which in _CUT.items() if figures.get(name)]
    return [f"- Cut off at the limit of tokens, and so no whole answers: {', '.join(told)}."] if told else []


def _judge(record: Mapping[str, Any], method: str, calibration: pl.DataFrame) -> list[str]:
    if record["stage"] == "supervised_policy":
        revising = json.loads(record["settings"]).get(REVISION_MODEL)
        who = (
            f"another model ({markdown(revising['source'])}) wrote" if revising else "the untrained model wrote itself"
        )
        return [f"None: it was trained on revisions that {who}."]
    measured = calibration.filter(pl.col("method") == method).sort("comparison_set")
    if measured.is_empty():
        return [f"Asked by the method {markdown(method)}, in which it was not measured."]
    name = measured["feedback_model"][0]
    return [
        f"{markdown(name)}, asked by the method {markdown(method)}. How often it agreed with people "
        "(guessing gives 50 %):",
        "",
        *(
            f"- {markdown(row['comparison_set'])}: {row['accuracy']:.0%} of {row['n']}, 95 % interval "
            f"{row['accuracy_low']:.0%} to {row['accuracy_high']:.0%}"
            + (f" — **{told(row)}**" if row["at_chance"] else "")
            + f". {row['blind_scorer'].capitalize()}, which never sees the principle: {row['blind_accuracy']:.0%}. "
            + strength_sentence(row)
            for row in measured.iter_rows(named=True)
        ),
    ]
