"""Letters scored through the project's own tasks, against the harness's stock tasks on the same items and model.

Needs the published files of MMLU and BBQ: `CCAI_TEST_DATA` names the folder, `eval/mmlu` and `eval/bbq` below it.
Both sides run in this process, in turn, with the same weights, number format and batch size; loading the model is
not counted. MMLU is the same task, so the letters chosen are compared as well; where the processor computes in
bfloat16, the stock task rounds log-probabilities to an eighth of a nat, letters tie, and its first one wins.
Without examples an item saves the output head at all places but the last; with them most of its text too.
BBQ is not the same task: the stock one compares twelve answers by their whole text, ours three letters.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TQDM_DISABLE", "1")

import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.pairs import seconds
from ccai_dagster.consultation import EvaluationSet
from ccai_dagster.evaluation.benchmark_sets.mmlu import MMLUItem
from ccai_dagster.evaluation.benchmark_sets.reading import json_rows
from ccai_dagster.evaluation.benchmarks import _evaluate
from ccai_dagster.evaluation.evaluation_sets import read_evaluation_set, sample_items
from ccai_dagster.evaluation.harness_model import load_harness_model
from ccai_dagster.evaluation.items import Item, SocialBiasItem
from ccai_dagster.feedback.number_format import computing_format
from ccai_dagster.settings import ModelSettings
from ccai_dagster.training.base_model import prepare_base_model
from resources.home import home_root

SUBJECTS = ("anatomy", "high_school_geography", "philosophy", "sociology")
MMLU_ITEMS, FEW_SHOT_ITEMS, BBQ_ITEMS, BATCH = 96, 48, 48, 16
DATA = (
    Path(os.environ.get("CCAI_TEST_DATA", Path(__file__).resolve().parents[2] / "shared" / "data")) / "eval"
)


def main() -> None:
    """Print how many times faster each of our tasks is, and whether the letters are the same."""
    import torch

    if not (DATA / "mmlu").is_dir():
        print(f"letters: left out, no published sets in {DATA}; name their folder with CCAI_TEST_DATA.")
        return
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    torch.set_num_threads(os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare_base_model(ModelSettings(), home_root() / "cache", folder / "base")
        dtype = computing_format("bfloat16")
        for shots, count in ((0, MMLU_ITEMS), (5, FEW_SHOT_ITEMS)):
            mmlu(folder, dtype, shots, count)
        bbq(folder, dtype)


def mmlu(folder: Path, dtype: str, shots: int, count: int) -> None:
    """Compare MMLU with the stock tasks of its subjects."""
    set_ = EvaluationSet(format="mmlu", path=DATA / "mmlu", shots=shots)
    items = [item for item in read_evaluation_set(set_) if item.category in SUBJECTS]
    drawn = sample_items(items, count, seed=1)
    ours, own = timed_own(folder / "base", dtype, drawn)
    tasks = folder / f"mmlu-{shots}-{dtype}"
    names = [stock_mmlu(tasks, subject, drawn, shots) for subject in SUBJECTS]
    stock, theirs = timed_stock(folder / "base", dtype, tasks, names)
    chosen = {sample["doc"]["id"]: best(sample) for sample in ours["own"]}
    other = {sample["doc"]["id"]: best(sample) for each in stock.values() for sample in each}
    equal = sum(chosen[name] == other[name] for name in chosen)
    told("MMLU", f"{shots}-shot, {dtype}, {len(drawn)} items", own, theirs, f"; {equal} letters equal")


def bbq(folder: Path, dtype: str) -> None:
    """Compare BBQ with the stock task."""
    rows = [row.fields for row in json_rows(DATA / "bbq" / "official" / "Age.jsonl.gz")]
    step = len(rows) // BBQ_ITEMS
    drawn = [bbq_item(row) for row in rows[: BBQ_ITEMS * step : step]]
    _, own = timed_own(folder / "base", dtype, drawn)
    tasks = folder / "bbq"
    write_task(
        tasks, "stock_bbq", "bbq/bbq_multiple_choice.yaml", {"test": rows[: BBQ_ITEMS * step : step]}, ""
    )
    _, theirs = timed_stock(folder / "base", dtype, tasks, ["stock_bbq"])
    told("BBQ", f"{dtype}, {len(drawn)} items", own, theirs, "")


def told(name: str, what: str, own: float, theirs: float, more: str) -> None:
    """Print one comparison."""
    print(
        f"{name}, {what}: {own:.2f} s; the harness's stock task: {theirs:.2f} s; {theirs / own:.1f} times faster{more}",
        flush=True,
    )


def best(sample: Mapping[str, Any]) -> int:
    """The likeliest of the letters, the first of those that tie."""
    likelihoods = [likelihood for likelihood, _ in sample["filtered_resps"]]
    return likelihoods.index(max(likelihoods))


def timed_own(model: Path, dtype: str, items: Sequence[Item]) -> tuple[dict[str, Any], float]:
    """Run items as the project does; samples and seconds."""
    harness = load_harness_model(model, dtype, BATCH)
    found: dict[str, Any] = {}
    _evaluate(harness, {"own": items[:2]}, 1, lambda *_: None)
    took = seconds(lambda: found.update(_evaluate(harness, {"own": items}, 1, lambda *_: None)["samples"]))
    return found, took


def timed_stock(model: Path, dtype: str, tasks: Path, names: list[str]) -> tuple[dict[str, Any], float]:
    """Run stock tasks with the harness's own model class; samples and seconds."""
    import torch
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    device = "cuda" if torch.cuda.is_available() else "cpu"
    harness = HFLM(pretrained=str(model), dtype=dtype, batch_size=BATCH, device=device)
    found: dict[str, Any] = {}

    def run(limit: int | None) -> None:
        options: dict[str, Any] = {"bootstrap_iters": 0, "log_samples": True, "limit": limit}
        found.update(evaluate(lm=harness, task_dict=loaded, **options)["samples"])

    loaded = TaskManager(include_path=str(tasks), include_defaults=False).load(names)
    run(1)
    return found, seconds(lambda: run(None))


def stock_mmlu(tasks: Path, subject: str, items: Sequence[Item], shots: int) -> str:
    """Write a stock task over the items of a subject; its name."""
    own = [item for item in items if isinstance(item, MMLUItem) and item.category == subject]
    rows = {"dev": own[0].shots, "test": own}
    parts = {
        part: [
            {"id": each.id, "question": each.question, "choices": list(each.choices), "answer": each.answer}
            for each in members
        ]
        for part, members in rows.items()
        if members
    }
    name = f"stock_{subject}"
    # Without examples the harness still wants the part they would come from.
    write_task(
        tasks,
        name,
        f"mmlu/default/mmlu_{subject}.yaml",
        {"dev": parts["test"]} | parts,
        f"num_fewshot: {shots}\n",
    )
    return name


def write_task(
    tasks: Path, name: str, original: str, parts: Mapping[str, Sequence[Mapping[str, Any]]], more: str
) -> None:
    """Write a task that is the harness's own, but for where its rows are."""
    import lm_eval

    tasks.mkdir(exist_ok=True)
    files = {}
    for part, rows in parts.items():
        files[part] = str(tasks / f"{name}_{part}.jsonl")
        Path(files[part]).write_text("".join(f"{json.dumps(row)}\n" for row in rows), encoding="utf-8")
    source = Path(lm_eval.__file__).parent / "tasks" / original
    arguments = json.dumps({"data_files": files, "cache_dir": str(tasks / "cache")})
    (tasks / f"{name}.yaml").write_text(
        f"include: {source}\ntask: {name}\ndataset_path: json\ndataset_name: null\ndataset_kwargs: {arguments}\n{more}"
    )


def bbq_item(row: Mapping[str, Any]) -> SocialBiasItem:
    """A row of BBQ as three letters; which answer fits a stereotype has no bearing on time."""
    answers = ("ans0", "ans1", "ans2")
    unknown = next(at for at, name in enumerate(answers) if row["answer_info"][name][1] == "unknown")
    return SocialBiasItem(
        id=f"{row['example_id']:05}",
        category=row["category"],
        template=row["question_index"],
        context=row["context"],
        question=row["question"],
        choices=tuple(row[name] for name in answers),
        unknown=unknown,
        stereotyped=(unknown + 1) % 3,
        answer=row["label"],
        condition="ambiguous" if row["context_condition"] == "ambig" else "disambiguated",
    )


if __name__ == "__main__":
    main()
