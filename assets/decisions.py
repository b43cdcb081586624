"""What people decided: one observable source a ledger. Its data version is the digest of its rows.

Belongs here: ledgers as Dagster sees them, and reading one in an asset. What the rows mean is in
`ccai_dagster.decisions`.
Data that others make, observed: https://docs.dagster.io/guides/build/assets/external-assets
"""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg
import polars as pl

from assets.table_asset import markdown_table
from ccai_dagster.audit.ledger_record import check_rows
from ccai_dagster.audit.manifest import last_manifest
from ccai_dagster.consultation.folder import LEDGERS, Consultation
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.decisions.ledger import current, is_decision, is_policy, ledger_digest, read_ledger

GROUP = "decisions"
DESCRIPTIONS = {
    "moderation": "Which statements are in, out, rewritten or metadata, and who was invited to vote on which seeds.",
    "exclusion": "Participants whose votes do not count, and how participants were screened.",
    "merge": "Statements that say the same, and the one text that stands for them.",
    "wording": "The principle each selected statement is worded as, or that it is left out.",
    "idea": "The distinct ideas each statement expresses.",
    "threshold": "Every numeric decision: minimum votes, imputation, groups, smoothing, the cut.",
    "training": "The weight of harmlessness, how the feedback model is asked, prompts and evaluations chosen.",
    "signoff": "The constitutions that may be trained on, and exports believed as they are, by digest.",
}


def ledger_key(kind: str) -> dg.AssetKey:
    """Return the key of a ledger's source asset."""
    return dg.AssetKey(f"{kind}_ledger")


def read(consultation: Consultation, kind: str) -> pl.DataFrame:
    """Read a ledger of the consultation."""
    return read_ledger(consultation.ledger(kind), kind)


def build(consultation: Consultation, home: Home) -> list[dg.SourceAsset]:
    """Make one observable source a ledger."""
    return [_ledger(consultation, home, kind) for kind in LEDGERS]


def _ledger(consultation: Consultation, home: Home, kind: str) -> dg.SourceAsset:
    @dg.observable_source_asset(
        key=ledger_key(kind),
        group_name=GROUP,
        description=DESCRIPTIONS[kind],
        # Dagster has no owners for observable sources.
        tags={"dagster/kind/csv": "", "dagster/kind/person": "", "owner": "decisions"},
    )
    def ledger() -> dg.ObserveResult:
        try:
            table, path = read(consultation, kind), consultation.ledger(kind)
            check_rows(last_manifest(home.manifest), path, table)
            current(table)
        except ConsultationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        return dg.ObserveResult(
            data_version=dg.DataVersion(ledger_digest(table)), metadata=ledger_metadata(table, path)
        )

    return ledger


def ledger_metadata(table: pl.DataFrame, path: Path) -> dict[str, Any]:
    """Return what is worth knowing about a ledger, replaced rows included: counts, last change, its latest rows."""
    counting = current(table)
    policies = counting["outcome"].map_elements(is_policy, return_dtype=pl.Boolean).sum()
    decided = {
        subject
        for outcome, subjects in counting.select("outcome", "subject_ids").iter_rows()
        if is_decision(outcome) or is_policy(outcome)
        for subject in subjects
    }
    last = table.sort("decided_at", maintain_order=True).tail(1)
    shown = table.tail(8).select(
        "decision_id", "subject_ids", "outcome", "reason", "decided_by", "decided_at", "supersedes"
    )
    changed = datetime.fromtimestamp(path.stat().st_mtime, UTC)
    return {
        "rows": table.height,
        "rows that count": counting.height,
        "superseded": table.height - counting.height,
        "policies": int(policies or 0),
        "subjects decided": len(decided),
        "suggested by a program": int(counting["suggested_by"].is_not_null().sum()),
        "last decided": f"{last['decided_at'].item()} by {last['decided_by'].item()} ({last['decision_id'].item()})"
        if last.height
        else "never",
        "file changed": changed.isoformat(timespec="seconds"),
        "latest rows": dg.MetadataValue.md(markdown_table(shown)),
        "file": dg.MetadataValue.path(str(path)),
    }
