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
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import sub
from pathlib import Path
from typing import Any

from ccai_dagster.consultation.folder import EvaluationSet
from ccai_dagster.consultation.settings import ModelSettings
from ccai_dagster.core.home import home_root
from ccai_dagster.evaluation.benchmarks import _evaluate, _prompt_texts, harness_model
from ccai_dagster.evaluation.sets.formats import read_evaluation_set, sample_items
from ccai_dagster.evaluation.sets.items import Item
from ccai_dagster.evaluation.sets.mmlu import MMLUItem
from ccai_dagster.evaluation.sets.reading import json_rows
from ccai_dagster.feedback.language_model import computing_format
from ccai_dagster.stages.transformers_model import TransformersModel
from ccai_dagster.training.model_folder import prepare_base_model

SUBJECTS = ("anatomy", "high_school_geography", "philosophy", "sociology")
MMLU_ITEMS, FEW_SHOT_ITEMS, BBQ_ITEMS, BATCH, ROUNDS = 64, 16, 12, 16, 2
BBQ_FILE = "official/Age.jsonl.gz"
DATA = Path(os.environ.get("CCAI_TEST_DATA", "")) / "eval"


@dataclass(frozen=True)
class Sides:
    """The same weights twice: as the project loads them, and as the harness does."""

    own: TransformersModel
    stock: Any


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
        both = sides(folder / "base", computing_format("bfloat16"))
        for shots, count in ((0, MMLU_ITEMS), (5, FEW_SHOT_ITEMS)):
            mmlu(folder, both, shots, count)
        bbq(folder, both)


def sides(model: Path, dtype: str) -> Sides:
    """Load the model both ways."""
    import torch
    from lm_eval.models.huggingface import HFLM

    device = "cuda" if torch.cuda.is_available() else "cpu"
    stock = HFLM(pretrained=str(model), dtype=dtype, batch_size=BATCH, device=device)
    return Sides(TransformersModel(model, dtype, BATCH), stock)


def mmlu(folder: Path, both: Sides, shots: int, count: int) -> None:
    """Compare MMLU with the stock tasks of its subjects."""
    set_ = EvaluationSet(format="mmlu", path=DATA / "mmlu", shots=shots)
    items = [item for item in read_evaluation_set(set_) if item.category in SUBJECTS]
    drawn = sample_items(items, count, seed=1)
    tasks = folder / f"mmlu-{shots}"
    names = [stock_mmlu(tasks, subject, drawn, shots) for subject in SUBJECTS]
    ours, stock = in_turn(f"MMLU, {shots}-shot, {len(drawn)} items", both, drawn, tasks, names)
    chosen, other = ({sample["doc"]["id"]: best(sample) for sample in each} for each in (ours, stock))
    equal = sum(chosen[name] == other[name] for name in chosen)
    print(f"  the same letter in {equal} of {len(chosen)} items", flush=True)


def bbq(folder: Path, both: Sides) -> None:
    """Compare BBQ with the stock task."""
    items = [
        item
        for item in read_evaluation_set(EvaluationSet(format="bbq", path=DATA / "bbq"))
        if item.id.startswith("Age/")
    ]
    drawn = sample_items(items, BBQ_ITEMS, seed=1)
    rows = {f"Age/{row.fields['example_id']:05}": row.fields for row in json_rows(DATA / "bbq" / BBQ_FILE)}
    write_task(
        folder / "bbq", "stock_bbq", "bbq/bbq_multiple_choice.yaml", {"test": [rows[item.id] for item in drawn]}, ""
    )
    in_turn(f"BBQ, {len(drawn)} items", both, drawn, folder / "bbq", ["stock_bbq"])


def in_turn(
    title: str, both: Sides, items: Sequence[Item], tasks: Path, names: list[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Run ours and the stock tasks in turn, print the ratios, return the samples of both."""
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    def own(chosen: Sequence[Item]) -> list[dict[str, Any]]:
        harness = harness_model(both.own)
        texts = {"own": _prompt_texts(harness, title, chosen, 1)}
        return list(_evaluate(harness, {"own": chosen}, texts, 1)["samples"]["own"])

    def stock(limit: int | None) -> list[dict[str, Any]]:
        options: dict[str, Any] = {"bootstrap_iters": 0, "log_samples": True, "limit": limit}
        found = evaluate(lm=both.stock, task_dict=loaded, **options)["samples"]
        return [sample for name in names for sample in found[name]]

    loaded = TaskManager(include_path=str(tasks), include_defaults=False).load(names)
    own(items[:2])
    stock(1)
    times: list[tuple[float, ...]] = []
    for _ in range(ROUNDS):
        began = time.perf_counter(), time.process_time()
        ours = own(items)
        between = time.perf_counter(), time.process_time()
        theirs = stock(None)
        ended = time.perf_counter(), time.process_time()
        times.append((*map(sub, between, began), *map(sub, ended, between)))
    wall, work, stock_wall, stock_work = (min(each) for each in zip(*times, strict=True))
    print(
        f"{title}: {wall:.2f} s ({work:.2f} s of processor time); the harness's stock task: {stock_wall:.2f} s "
        f"({stock_work:.2f} s); {stock_wall / wall:.1f} times faster ({stock_work / work:.1f} in processor time), "
        f"least of {ROUNDS} rounds",
        flush=True,
    )
    return ours, theirs


def best(sample: Mapping[str, Any]) -> int:
    """The likeliest of the letters, the first of those that tie."""
    likelihoods = [likelihood for likelihood, _ in sample["filtered_resps"]]
    return likelihoods.index(max(likelihoods))


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
        tasks, name, f"mmlu/default/mmlu_{subject}.yaml", {"dev": parts["test"]} | parts, f"num_fewshot: {shots}\n"
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


if __name__ == "__main__":
    main()
