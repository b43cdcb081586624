"""The embedded consultation with a tiny random model and the smallest sizes, and what its runs leave."""

from __future__ import annotations

import functools
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg
import polars as pl
import pytest
import sqlalchemy
import warm_stages as warm
import yaml
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.runs.sqlite import sqlite_run_storage
from dagster._core.storage.schedules.sqlite import sqlite_schedule_storage
from sqlalchemy import Engine
from white_paper import white_paper

from ccai_dagster.consultation.folder import CONTROL_ARMS, SAMPLE, Consultation, read_consultation
from ccai_dagster.core.home import Home
from ccai_dagster.definitions import build_defs
from ccai_dagster.run import Outcome, run
from resources.launcher import Launcher
from resources.record import open_record

FIRST = "first.json"
SMALLEST = {
    "deliberation": {"bootstraps": 10, "shuffles": 19},
    "sensitivity": {"ways_to_group": 2},
    # The byte-level tokenizer of the random model would need a longer context for the answered examples.
    "feedback": {"calibration_comparisons": 4, "calibration_methods": ["letters", "contrast", "likeness"]},
    "tuned_judge": {"batch_size": 2, "max_tokens": 64},
    "revisions": {"prompts": 4, "few_shots": 1, "new_tokens": 8},
    "supervised": {"steps": 2, "batch_size": 8, "lora_rank": 2, "max_tokens": 64},
    "pairs": {"prompts": 8, "new_tokens": 8},
    "preference_model": {"steps": 1, "batch_size": 6, "lora_rank": 2, "max_tokens": 64},
    "balance": {"weights": [0.0], "benign_prompts": 0},
    "policy": {
        "steps": 1,
        "prompts_per_step": 1,
        "samples_per_prompt": 2,
        "new_tokens": 4,
        "lora_rank": 2,
        "held_out_prompts": 2,
    },
    "evaluation": {
        "items_per_benchmark": 4,
        "new_tokens": 4,
        "comparison_prompts": 2,
        "adherence_prompts": 2,
        "principles_per_prompt": 1,
        "bootstraps": 100,
    },
    "control": {
        "pairs": {"prompts": 8, "new_tokens": 16},
        "policy": {"steps": 1, "prompts_per_step": 1, "samples_per_prompt": 4, "lora_rank": 2},
        "held_out_prompts": 3,
        "samples": 2,
        "new_tokens": 8,
    },
}


@dataclass(frozen=True)
class Workplace:
    """A consultation folder, where its results are, and what the first run did."""

    base: Path
    instance: dg.DagsterInstance
    name: str = "town"

    @property
    def folder(self) -> Path:
        return self.base / self.name

    @property
    def root(self) -> Path:
        return self.base / "home"

    @property
    def first(self) -> Outcome:
        return Outcome(**json.loads((self.base / FIRST).read_text()))

    @property
    def consultation(self) -> Consultation:
        return read_consultation(self.folder)

    @property
    def defs(self) -> dg.Definitions:
        return defined(self.consultation, self.root)

    def run(self, select: str | None = None) -> Outcome:
        return run(self.consultation, self.root, lambda line: None, select, self.instance)


DEFINED: dict[tuple[str, Path], dg.Definitions] = {}


def defined(consultation: Consultation, root: Path) -> dg.Definitions:
    """Definitions as a code location holds them: made once while the consultation's file stays as it is."""
    key = (consultation.model_dump_json(), root)
    if key not in DEFINED:
        DEFINED[key] = build_defs(consultation, root)
    return DEFINED[key]


def small_folder(destination: Path, model: Path, topics: bool = True) -> Path:
    """Copy the sample and make everything as small as it can be; without topics, deliberation asks no model."""
    shutil.copytree(SAMPLE, destination)
    path = destination / "consultation.yaml"
    content = yaml.safe_load(path.read_text())
    content["model"] = {"source": f"folder:{model}", "dtype": "float32", "context_tokens": 2048}
    content["sentence_model"] = {"source": f"folder:{model}"} if topics else None
    content["profiles"] = {"demo": SMALLEST}
    path.write_text(yaml.safe_dump(content))
    # Its arms learn by reinforcement, those of the control by direct preferences.
    ledger = destination / "decisions" / "training.csv"
    ledger.write_text(ledger.read_text().replace(",dpo,", ",rloo,"))
    return destination


@functools.cache
def engine(address: str) -> Engine:
    """An engine for a database of Dagster, which makes and disposes of one each time it reads or writes an event.

    Nothing is waited for until it is on the disk: after a power failure nobody goes on with a test.
    """
    made = sqlalchemy.create_engine(address, poolclass=sqlalchemy.QueuePool, connect_args={"timeout": 60})
    sqlalchemy.event.listen(made, "connect", lambda connection, _: connection.execute("PRAGMA synchronous = OFF"))
    made.dispose = lambda close=True: None
    CONNECTED.append(made)
    return made


CONNECTED: list[Engine] = []


def disconnect() -> None:
    """Close every database, so that it can be copied."""
    for each in CONNECTED:
        each.pool.dispose()
    CONNECTED.clear()
    engine.cache_clear()


@contextmanager
def opened(base: Path, address: str, name: str = "town") -> Iterator[Workplace]:
    """The results below a folder; while they are open, stages run in the warm process and pictures stay white.

    Args:
        name: Of the consultation folder.
    """
    before = dict(os.environ)

    try:
        os.environ["CCAI_HOME"] = str(base / "home")
        consultation = read_consultation(base / name)
        home = Home(base / "home", consultation.name)
        with pytest.MonkeyPatch.context() as patch, white_paper(), open_record(home, consultation, print) as instance:
            patch.setattr(Launcher, "_attend", warm.attending(address))
            patch.setattr("ccai_dagster.run.build_defs", defined)
            for storage in (sqlite_event_log, sqlite_run_storage, sqlite_schedule_storage):
                patch.setattr(storage, "create_engine", lambda address, **options: engine(address))
            yield Workplace(base, instance, name)
    finally:
        DEFINED.clear()
        disconnect()
        # MLflow writes the address of its store there, too.
        os.environ.clear()
        os.environ.update(before)


def copied(base: Path, destination: Path) -> Path:
    """Copy a consultation and its results; Dagster and MLflow know their files by whole paths."""
    # A database that a connection somewhere still holds open has its last rows in a file beside it.
    shutil.copytree(base, destination, ignore=shutil.ignore_patterns("*.db", "*.db-wal", "*.db-shm"))
    Home(destination / "home", "town").source.write_text(f"{destination / 'town'}\n")
    every = "SELECT t.name, c.name FROM sqlite_master AS t, pragma_table_info(t.name) AS c WHERE t.type = 'table'"
    for path in base.rglob("*.db"):
        copy = destination / path.relative_to(base)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(copy)) as database, database:
            source.backup(database)
            for table, column in database.execute(every).fetchall():
                database.execute(
                    f'UPDATE "{table}" SET "{column}" = replace("{column}", :old, :new) '  # noqa: S608
                    f'WHERE instr("{column}", :old)',
                    {"old": str(base), "new": str(destination)},
                )
    return destination


ARMS = ("public", "standard")
ONCE = {
    "raw_statements",
    "raw_participants",
    "raw_votes",
    "raw_group_votes",
    "import_report",
    "statements",
    "participants",
    "votes",
    "group_structure",
    "opinion_groups",
    "group_profile",
    "participant_demographics",
    "sample_representativeness",
    "weighted_consensus",
    "group_votes",
    "gac_scores",
    "representative_statements",
    "consensus_statements",
    "important_statements",
    "uncertain_statements",
    "comment_priorities",
    "narrative",
    "statement_topics",
    "consensus_stability",
    "group_stability",
    "selected_statements",
    "constitution_overlap",
    "constitution_comparison",
    "opinion_representativeness",
    "base_model",
    "prompts",
    "prompt_coverage",
    "feedback_model",
    "judge_answers",
    "judge_calibration",
    "judge_calibration_curve",
    "helpfulness_pairs",
    "comparisons",
    "elo_scores",
    "elo_differences",
    "rater_agreement",
    "eval_scores",
    "model_cards",
    "decision_trail",
    "decision_worlds",
    "decision_sensitivity",
    "decision_importance",
    "principle_robustness",
    "decision_reversals",
    "constitution_report",
    "public_summary",
    "public_results",
    "preference_balance",
    "training_settings",
    "qualitative_prompts",
    "evaluation_page",
    "audit_report",
    "provenance",
    "adherence_examples",
    "contrast_pairs",
    "control_statements",
    "judged_examples",
    "adherence_scores",
    "group_adherence",
    "specificity",
    "conflicts",
}
BY_ARM = {
    "constitution",
    "signed_constitution",
    "revisions",
    "supervised_policy",
    "response_pairs",
    "preference_pairs",
    "preference_model",
    "policy",
}
EVALUATED = {
    "adherence",
    "control_adherence",
    "contrast_margins",
    "qualitative_responses",
    "sample_knowledge",
    "sample_arithmetic",
    "sample_bias",
    "sample_over_refusal",
    "sample_opinions",
}
CONTROL = {f"{arm}/{name}" for arm in CONTROL_ARMS for name in ("preference_pairs", "policy")} | {
    "control_response_pairs",
    "control_responses",
    "control_scores",
}
EVERYTHING = (
    ONCE
    | CONTROL
    | {f"{arm}/{name}" for arm in ARMS for name in BY_ARM}
    | {f"{arm}/{name}" for arm in ("base", *ARMS) for name in EVALUATED}
)
TRAINED = {f"{arm}/{name}" for arm in ARMS for name in ("supervised_policy", "preference_model", "policy")}


def table(workplace: Workplace, key: str) -> pl.DataFrame:
    return pl.read_parquet(workplace.root / workplace.name / "tables" / f"{key}.parquet")


def checked(workplace: Workplace, key: str, name: str) -> tuple[bool, str]:
    """Whether a check of an asset passed when it was last made, and what it told."""
    check = dg.AssetCheckKey(dg.AssetKey(key.split("/")), name)
    (record,) = workplace.instance.event_log_storage.get_latest_asset_check_execution_by_key([check]).values()
    found = record.event.dagster_event.asset_check_evaluation_data
    return found.passed, str(found.metadata["what"].value)


def event(workplace: Workplace, key: str) -> dg.AssetMaterialization:
    found = workplace.instance.get_latest_materialization_event(dg.AssetKey(key.split("/")))
    assert found is not None and found.asset_materialization is not None, key
    return found.asset_materialization


def sensor(workplace: Workplace, name: str) -> dg.RunRequest | dg.SkipReason:
    repository = workplace.defs.get_repository_def()
    cursor = None
    for _ in range(2):  # what changed is asked for when it is the same at two looks
        with dg.build_sensor_context(workplace.instance, cursor, repository_def=repository) as context:
            found = repository.get_sensor_def(name)(context)
            cursor = context.cursor
    return found


def observe(workplace: Workplace) -> None:
    assert workplace.defs.resolve_job_def("observe_inputs").execute_in_process(instance=workplace.instance).success
