"""A consultation small enough to check by eye, for everything that tells what happened."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from ccai_dagster.audit.manifest import (
    Manifest,
    Materialization,
    Observation,
    Run,
    describe_files,
    row_digests,
    write_manifest,
)
from ccai_dagster.audit.verification import content_versions
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation import SAMPLE, Consultation, read_consultation
from ccai_dagster.contracts import (
    ADHERENCE,
    CONSENSUS_STABILITY,
    CONSTITUTION,
    EVAL_SCORES,
    GAC_SCORES,
    LEDGER,
    MODEL,
    PREFERENCE_PAIRS,
    RAW_STATEMENTS,
    SELECTED_STATEMENTS,
    STATEMENTS,
)
from ccai_dagster.decisions.decision import Decision
from ccai_dagster.decisions.ledger import ledger_digest, write_ledger
from ccai_dagster.digest import folder_digest

HOSTILE = "<script>alert('x')</script> **bold** =SUM(A1) \u202etxet\x07"


@dataclass(frozen=True)
class SmallConsultation:
    """Six statements, two arms, one replaced decision."""

    raw_statements: pl.DataFrame
    statements: pl.DataFrame
    gac_scores: pl.DataFrame
    consensus_stability: pl.DataFrame
    selected_statements: pl.DataFrame
    constitutions: dict[str, pl.DataFrame]
    ledgers: dict[str, pl.DataFrame]
    preference_pairs: dict[str, pl.DataFrame]
    adherence: dict[str, pl.DataFrame]


def _ledger(*rows: tuple[str, str, list[str], str, str, str | None]) -> pl.DataFrame:
    return LEDGER.build(
        [
            {
                "decision_id": decision_id, "kind": kind, "subject_ids": subjects, "outcome": outcome,
                "reason": reason, "policy_ref": None, "decided_by": "moderators", "decided_at": "2025-03-04",
                "supersedes": supersedes, "inputs_digest": None, "suggested_by": None,
            }
            for decision_id, kind, subjects, outcome, reason, supersedes in rows
        ]
    )  # fmt: skip


def _raw(key: int, author: int | None, moderated: int, seed: bool | None, text: str) -> dict[str, Any]:
    return {
        "statement_id": key, "author_id": author, "created_at": datetime(2025, 3, 2, 9, tzinfo=UTC),
        "moderated": moderated, "is_seed": seed, "is_meta": None, "text": text,
    }  # fmt: skip


def _statement(key: int, text: str, raw: str, decisions: list[str]) -> dict[str, Any]:
    return {
        "statement_id": key, "author_id": 7, "text": text, "raw_text": raw, "rewritten": text != raw,
        "decision_ids": decisions,
    }  # fmt: skip


def _score(key: int, gac: float, votes: list[int], agreement: list[float]) -> dict[str, Any]:
    agree = sum(round(count * share) for count, share in zip(votes, agreement, strict=True))
    return {
        "statement_id": key, "n_votes": sum(votes), "n_agree": agree, "n_disagree": sum(votes) - agree,
        "n_pass": 0, "gac": gac, "polarization_index": 0.2, "adjusted_polarization_index": 0.2,
        "group_ids": [0, 1], "group_votes": votes, "group_agreement": agreement, "published_gac": None,
    }  # fmt: skip


def _selected(key: int, gac: float, rank: int, selected: bool, fate: str) -> dict[str, Any]:
    return {
        "statement_id": key, "text": "t", "gac": gac, "rank": rank, "selected": selected, "ideas": [],
        "new_ideas": 1, "fate": fate, "decision_ids": [],
    }  # fmt: skip


@pytest.fixture(scope="session")
def small_consultation() -> SmallConsultation:
    ledgers = {
        "moderation": _ledger(
            ("M1", "moderation", ["1", "5", "6"], "in", "fits the question", None),
            ("M2", "moderation", ["2"], "rewrite: The AI should tell the truth.", "spelling", None),
            ("M3", "moderation", ["3"], "out: nonsensical", "cannot be answered", None),
        ),
        "exclusion": _ledger(("E1", "exclusion", ["9"], "exclude", "voted without reading", None)),
        "merge": _ledger(("G1", "merge", ["1", "2"], "merge: The AI should be honest.", "same idea", None)),
        "wording": _ledger(
            ("P1", "wording", ["1", "2"], "principle: Be honest.", "first draft", None),
            ("W2", "wording", ["1", "2"], "principle: Choose the honest response.", "template", "P1"),
            ("P2", "wording", ["5"], "principle: Choose the short response.", "template", None),
        ),
        "idea": _ledger(),
        "threshold": _ledger(
            ("T1", "threshold", ["selection_rule"], "threshold", "as published", None),
            ("T2", "threshold", ["gac_threshold"], "0.7", "seven in ten", None),
        ),
        "training": _ledger(
            ("R1", "training", ["feedback_method"], "letters", "simplest", None),
            ("R2", "training", ["prompt_database"], "policy: the same prompts for both arms", "fair", None),
        ),
        "signoff": _ledger(("S1", "signoff", ["public"], "signed off", "reads well", None)),
    }
    principles = [
        (
            "public",
            "P1",
            "Choose the honest response.",
            [1, 2],
            "The AI should be honest.",
            0.81,
            ["W2", "G1"],
        ),
        ("standard", "S1", "Choose the harmless response.", [], None, None, []),
    ]
    constitutions = {
        row[0]: CONSTITUTION.build(
            [
                {
                    "principle_id": row[1], "arm": row[0], "text": row[2], "statement_ids": row[3],
                    "merged_text": row[4], "gac": row[5], "decision_ids": row[6],
                }
            ]
        )
        for row in principles
    }  # fmt: skip
    pairs = PREFERENCE_PAIRS.build(
        [
            {
                "pair_id": f"pair-{number}", "prompt_id": "x", "prompt": "x", "response_a": "a",
                "response_b": "b", "principle_id": "P1", "forward_probability": label,
                "reversed_probability": label, "probability_a": label, "answer_mass": 1.0,
                "status": "unanswered" if label is None else "labelled", "method": "letters",
                "feedback_model": "m",
            }
            for number, label in enumerate([0.5, 0.8, 0.3, None])
        ]
    )  # fmt: skip
    adherence = {
        arm: ADHERENCE.build(
            [
                {
                    "arm": arm, "constitution_arm": "public", "principle_id": "P1", "prompt_id": f"h{number}",
                    "response": "r", "probability": value,
                }
                for number, value in enumerate(values)
            ]
        )
        for arm, values in {"base": [0.25, 0.25], "public": [0.5, 1.0]}.items()
    }  # fmt: skip
    return SmallConsultation(
        raw_statements=RAW_STATEMENTS.build(
            [
                _raw(1, 0, 1, True, "The AI should be honest"),
                _raw(2, 7, 1, False, "teh AI shuold tell the truth"),
                _raw(3, 8, -1, False, HOSTILE),
                _raw(4, None, 0, None, "Late idea"),
                _raw(5, 7, 1, False, "The AI should be short"),
                _raw(6, 9, 1, False, "The AI should cite sources"),
            ]
        ),
        statements=STATEMENTS.build(
            [
                _statement(1, "The AI should be honest", "The AI should be honest", ["M1"]),
                _statement(2, "The AI should tell the truth.", "teh AI shuold tell the truth", ["M2"]),
                _statement(5, "The AI should be short", "The AI should be short", ["M1"]),
                _statement(6, "The AI should cite sources", "The AI should cite sources", ["M1"]),
            ]
        ),
        gac_scores=GAC_SCORES.build(
            [
                _score(1, 0.81, [10, 10], [0.9, 0.9]),
                _score(2, 0.72, [10, 10], [0.9, 0.8]),
                _score(5, 0.4, [10, 10], [0.8, 0.5]),
                _score(6, 0.8, [10, 5], [1.0, 0.8]),
            ]
        ),
        consensus_stability=CONSENSUS_STABILITY.build(
            [
                {
                    "statement_id": key,
                    "gac": gac,
                    "gac_low": gac - 0.1,
                    "gac_high": gac + 0.1,
                    "gac_low_same_groups": gac - 0.05,
                    "gac_high_same_groups": gac + 0.05,
                    "gac_low_seeds": gac - 0.02,
                    "gac_high_seeds": gac,
                    "selection_probability": share,
                    "selection_share_seeds": float(share > 0.5),
                    "smallest_group_votes": 5 if key == 6 else 30,
                    "few_votes": key == 6,
                }
                for key, gac, share in [(1, 0.81, 0.95), (2, 0.72, 0.6), (5, 0.4, 0.0), (6, 0.8, 0.9)]
            ]
        ),
        selected_statements=SELECTED_STATEMENTS.build(
            [
                _selected(1, 0.81, 1, True, "principle"),
                _selected(6, 0.8, 2, True, "undecided"),
                _selected(2, 0.72, 3, True, "principle"),
                _selected(5, 0.4, 4, False, "below the cut"),
            ]
        ),
        constitutions=constitutions,
        ledgers=ledgers,
        preference_pairs={"public": pairs, "standard": pairs.clear()},
        adherence=adherence,
    )


@dataclass(frozen=True)
class Finished:
    """The results of the small consultation, as a run leaves them."""

    consultation: Consultation
    home: Path
    manifest: Manifest

    @property
    def tables(self) -> Path:
        return self.home / "tables"

    @property
    def places(self) -> dict[str, Path]:
        places = {name: self.home / name for name in ("tables", "models", "report")}
        return {**places, "consultation": self.consultation.folder, "sample": SAMPLE}


RUN, TRACKED = "11112222-3333-4444-5555-666677778888", "aaaabbbbccccddddeeeeffff00001111"


@pytest.fixture
def finished(small_consultation: SmallConsultation, tmp_path: Path) -> Finished:
    """Tables, one model, a report, its provenance, ledgers and the manifest of all of them."""
    folder, home = tmp_path / "town", tmp_path / "home" / "town"
    consultation = read_consultation(SAMPLE).model_copy(update={"folder": folder})
    (folder / "decisions").mkdir(parents=True)
    signed = constitution_digest(small_consultation.constitutions["public"])
    ledgers = dict(small_consultation.ledgers)
    ledgers["signoff"] = ledgers["signoff"].with_columns(inputs_digest=pl.lit(signed))
    for kind, ledger in ledgers.items():
        rows = [Decision(**{**row, "subject_ids": tuple(row["subject_ids"])}) for row in ledger.to_dicts()]
        write_ledger(consultation.ledger(kind), rows)
    weights = home / "models" / "new"
    weights.mkdir(parents=True)
    (weights / "config.json").write_text("{}")
    (weights / "model.safetensors").write_bytes(bytes(range(256)))
    model = folder_digest(weights)
    weights.rename(weights.with_name(model))
    record = {"stage": "policy", "arm": "public", "parent_digest": None, "constitution_digest": signed,
              "settings_digest": "5" * 64, "metrics": '{"kl_last": 0.25}', "model_digest": model}  # fmt: skip
    score = {
        "arm": "public", "benchmark": "elo", "metric": "helpfulness", "category": "all", "n": 12, "n_unanswered": 2,
        "value": 8.0, "low": -3.0, "high": 19.0, "compared_with": "standard", "difference": 4.0,
        "difference_low": -9.0, "difference_high": 17.0, "judge_at_chance": True,
    }  # fmt: skip
    small = small_consultation
    tables = {
        "raw_statements": small.raw_statements, "statements": small.statements, "gac_scores": small.gac_scores,
        "consensus_stability": small.consensus_stability, "selected_statements": small.selected_statements,
        **{f"{arm}/constitution": table for arm, table in small.constitutions.items()},
        **{f"{arm}/preference_pairs": table for arm, table in small.preference_pairs.items()},
        **{f"{arm}/adherence": table for arm, table in small.adherence.items()},
        "public/policy": MODEL.build([record]), "eval_scores": EVAL_SCORES.build([score]),
    }  # fmt: skip
    made = {}
    for key, table in tables.items():
        path = home / "tables" / f"{key}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(path)
        made[key] = Materialization(
            data_version=content_versions(key, table)[0], dagster_run=RUN, made_at="2025-03-05T10:00:00+00:00",
            mlflow_run=TRACKED if key == "public/policy" else None,
        )  # fmt: skip
    versions = {f"{kind}_ledger": ledger_digest(ledger) for kind, ledger in ledgers.items()}
    inputs = {"moderation_ledger": versions["moderation_ledger"]}
    made["statements"] = made["statements"].model_copy(
        update={
            "inputs": inputs | {"raw_statements": made["raw_statements"].data_version},
            "observations": {"moderation_ledger": 14},
        }
    )
    (home / "report").mkdir()
    listed = "\n".join(each.data_version for each in made.values())
    (home / "report" / "audit_report.html").write_text(f"<pre>{listed}</pre>")
    sources = {
        name: Observation(data_version=version, dagster_run=RUN, number=14, observed_at="2025-03-05T09:59:00+00:00")
        for name, version in versions.items()
    }  # fmt: skip
    paths = {
        f"tables/{path.relative_to(home / 'tables').as_posix()}": path for path in home.rglob("*.parquet")
    }
    paths |= {f"report/{path.name}": path for path in (home / "report").iterdir()}
    paths |= {f"models/{model}/{path.name}": path for path in (home / "models" / model).iterdir()}
    paths |= {f"consultation/decisions/{kind}.csv": consultation.ledger(kind) for kind in ledgers}
    manifest = Manifest(
        consultation="town", folder=str(folder), materializations=made, sources=sources,
        runs={RUN: Run(status="SUCCESS", started_at="2025-03-05T09:59:30+00:00")},
        files=describe_files(paths),
        rows={kind: row_digests(ledger.to_dicts()) for kind, ledger in ledgers.items()},
    )  # fmt: skip
    write_manifest(home / "manifest.json", manifest)
    return Finished(consultation, home, manifest)
