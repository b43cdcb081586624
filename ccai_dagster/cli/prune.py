"""`ccai prune`: what nothing cites any more is listed and, if somebody says so, removed."""

from contextlib import nullcontext

from ccai_dagster.consultation.folder import Consultation, home_of
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.definitions import build_defs, build_resources
from resources.instance import storage_errors
from resources.record import known_record
from resources.retention import find_leftovers, told
from resources.run_owners import turn


def leftovers(consultation: Consultation, older_than: int, remove: bool) -> list[str]:
    """Find what nothing cites any more, remove it if asked to, and return what to tell.

    Args:
        older_than: Days since something was last changed.

    Raises:
        ConsultationError: Nothing was made yet, or something is to be removed while a run is at work.
    """
    home = home_of(consultation)
    if (instance := known_record(home)) is None:
        raise ConsultationError(f"{home.dagster}: no record of runs, so nothing was made yet.")
    keys = build_defs(consultation, home.root).resolve_asset_graph().get_all_asset_keys()
    tracking = build_resources(home)["tracking"]
    alone = turn(instance, "`ccai prune`", _refuse) if remove else nullcontext()
    with alone, storage_errors(home.folder):
        found = find_leftovers(consultation, home, instance, tracking, keys, older_than)
        for each in found if remove else ():
            each.remove()
    return told(found, remove)


def _refuse(why: str) -> None:
    raise ConsultationError(f"Nothing was removed: {why}. Try again when it has ended.")
