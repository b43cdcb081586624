"""The small consultation, its results as a run leaves them, and a random preference model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pytest
from local_server import server
from postgres_server import database
from small_consultation import SmallConsultation, small_consultation
from small_portal import portal, served_portal
from small_town import place, settled, town

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
from ccai_dagster.consultation.folder import SAMPLE, Consultation, read_consultation
from ccai_dagster.contracts import EVAL_SCORES, MODEL
from ccai_dagster.core.digest import folder_digest
from ccai_dagster.decisions.ledger import Decision, ledger_digest, write_ledger

__all__ = ["database", "place", "portal", "served_portal", "server", "settled", "small_consultation", "town"]


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


@pytest.fixture(scope="session")
def preference_model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model with a random head for scores."""
    import torch

    from ccai_dagster.training.model_folder import load_model, load_tokenizer, save_model

    folder = tmp_path_factory.mktemp("preferences") / "model"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = load_model(tiny_model, scores=True)
        torch.nn.init.normal_(model.score.weight, std=0.02)
        save_model(model, load_tokenizer(tiny_model), folder)
    return folder


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
    record = {
        "stage": "policy",
        "arm": "public",
        "parent_digest": None,
        "constitution_digest": signed,
        "settings_digest": "5" * 64,
        "settings": "{}",
        "metrics": '{"kl_last": 0.25}',
        "model_digest": model,
    }
    score = {
        "arm": "public",
        "benchmark": "elo",
        "metric": "helpfulness",
        "category": "all",
        "n": 12,
        "n_unanswered": 2,
        "n_cut": None,
        "value": 8.0,
        "low": -3.0,
        "high": 19.0,
        "compared_with": "standard",
        "difference": 4.0,
        "difference_low": -9.0,
        "difference_high": 17.0,
        "p_value": 0.012,
        "adjusted_p": 0.024,
        "smallest_detectable": 5.5,
        "judge_at_chance": True,
    }
    small = small_consultation
    tables = {
        "raw_statements": small.raw_statements,
        "statements": small.statements,
        "gac_scores": small.gac_scores,
        "consensus_stability": small.consensus_stability,
        "selected_statements": small.selected_statements,
        **{f"{arm}/constitution": table for arm, table in small.constitutions.items()},
        **{f"{arm}/preference_pairs": table for arm, table in small.preference_pairs.items()},
        **{f"{arm}/adherence": table for arm, table in small.adherence.items()},
        "public/policy": MODEL.build([record]),
        "eval_scores": EVAL_SCORES.build([score]),
    }
    made = {}
    for key, table in tables.items():
        path = home / "tables" / f"{key}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        table.write_parquet(path)
        made[key] = Materialization(
            data_version=content_versions(key, table)[0],
            dagster_run=RUN,
            made_at="2025-03-05T10:00:00+00:00",
            mlflow_run=TRACKED if key == "public/policy" else None,
        )
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
    }
    paths = {f"tables/{path.relative_to(home / 'tables').as_posix()}": path for path in home.rglob("*.parquet")}
    paths |= {f"report/{path.name}": path for path in (home / "report").iterdir()}
    paths |= {f"models/{model}/{path.name}": path for path in (home / "models" / model).iterdir()}
    paths |= {f"consultation/decisions/{kind}.csv": consultation.ledger(kind) for kind in ledgers}
    manifest = Manifest(
        consultation="town",
        folder=str(folder),
        materializations=made,
        sources=sources,
        runs={RUN: Run(status="SUCCESS", started_at="2025-03-05T09:59:30+00:00")},
        files=describe_files(paths),
        rows={kind: row_digests(ledger.to_dicts()) for kind, ledger in ledgers.items()},
    )
    write_manifest(home / "manifest.json", manifest)
    return Finished(consultation, home, manifest)
