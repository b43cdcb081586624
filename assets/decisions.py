"""What people decided: one observable source a ledger. Its data version is the digest of its rows."""

import dagster as dg
import polars as pl

from assets.table_asset import markdown_table
from ccai_dagster.consultation import LEDGERS, Consultation
from ccai_dagster.decisions.ledger import current, ledger_digest, read_ledger
from ccai_dagster.errors import ConsultationError

GROUP = "decisions"
DESCRIPTIONS = {
    "moderation": "Which statements are in, out or rewritten, and who was invited to vote on which seeds.",
    "exclusion": "Participants whose votes do not count, and how participants were screened.",
    "merge": "Statements that say the same, and the one text that stands for them.",
    "wording": "The principle each selected statement is worded as, or that it is left out.",
    "idea": "The distinct ideas each statement expresses.",
    "threshold": "Every numeric decision: minimum votes, imputation, groups, smoothing, the cut.",
    "training": "The weight of harmlessness, how the feedback model is asked, prompts and evaluations chosen.",
    "signoff": "The constitutions that may be trained on, by digest.",
}


def ledger_key(kind: str) -> dg.AssetKey:
    """Return the key of a ledger's source asset."""
    return dg.AssetKey(f"{kind}_ledger")


def read(consultation: Consultation, kind: str) -> pl.DataFrame:
    """Read a ledger of the consultation."""
    return read_ledger(consultation.ledger(kind), kind)


def build(consultation: Consultation) -> list[dg.SourceAsset]:
    """Make one observable source a ledger."""
    return [_ledger(consultation, kind) for kind in LEDGERS]


def _ledger(consultation: Consultation, kind: str) -> dg.SourceAsset:
    @dg.observable_source_asset(
        key=ledger_key(kind),
        group_name=GROUP,
        description=DESCRIPTIONS[kind],
        # Dagster has no owners for observable sources.
        tags={"dagster/kind/csv": "", "dagster/kind/person": "", "owner": "decisions"},
    )
    def ledger() -> dg.ObserveResult:
        try:
            table = read(consultation, kind)
            counting = current(table)
        except ConsultationError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
        last = table.sort("decided_at").tail(1)
        shown = counting.tail(8).select(
            "decision_id", "subject_ids", "outcome", "reason", "decided_by", "decided_at"
        )
        return dg.ObserveResult(
            data_version=dg.DataVersion(ledger_digest(table)),
            metadata={
                "rows": table.height,
                "rows that count": counting.height,
                "last decided": f"{last['decided_at'].item()} by {last['decided_by'].item()}"
                if last.height
                else "never",
                "latest rows": dg.MetadataValue.md(markdown_table(shown)),
                "file": str(consultation.ledger(kind)),
            },
        )

    return ledger
