"""The jobs people and sensors start; which assets they cover is told by groups."""

import dagster as dg

from assets.decisions import ledger_key
from assets.responses import RATINGS
from ccai_dagster.consultation import LEDGERS
from ccai_dagster.terminal import OBSERVE

DELIBERATE = "deliberate"
TRAIN = "train_and_evaluate"


def sources() -> dg.AssetSelection:
    """Everything that comes from outside: the export, the ledgers and people's ratings."""
    return dg.AssetSelection.assets("polis_export", RATINGS, *(ledger_key(kind) for kind in LEDGERS))


def up_to_constitution() -> dg.AssetSelection:
    """From the import to the constitutions, and what was published of them; nothing here trains."""
    return dg.AssetSelection.groups("public_input", "deliberation", "constitution", "replication") - signed()


def signed() -> dg.AssetSelection:
    """The gate: constitutions that somebody signed off."""
    return dg.AssetSelection.key_substring("/signed_constitution")


def after_signoff() -> dg.AssetSelection:
    """What waits for a sign-off: feedback, training, evaluation and audit."""
    return dg.AssetSelection.groups("feedback", "training", "evaluation", "audit") | signed()


JOBS = [
    dg.define_asset_job(
        OBSERVE, sources(), description="Look at the export, the ledgers and the ratings as they are now."
    ),
    dg.define_asset_job(DELIBERATE, up_to_constitution(), description="From the votes to the constitutions."),
    dg.define_asset_job(TRAIN, after_signoff(), description="Everything that waits for a sign-off."),
]
