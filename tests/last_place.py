"""Two people who ask for the last place at once, each with a connection to the database of their own.

Run as a program, the portal is the one that the environment names.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from unittest.mock import patch

from ccai_dagster.consultation.folder import Consultation, chosen_consultation, home_of
from ccai_dagster.consultation.people import DemographicQuestion

SEAT = DemographicQuestion(
    name="seat", question="Which?", answers=["left", "right"], targets={"left": 0.5, "right": 0.5}
)


def two_for_the_last_place(consultation: Consultation) -> list[str]:
    """Return what each of the two was told, in order of the alphabet.

    Whoever has looked whether there is a place waits until the other has looked, too, if the other may.
    """
    from django.db import connection

    from ccai_dagster.portal import joining

    portal = consultation.file.portal.model_copy(update={"places": 1, "screening": []})
    file = consultation.file.model_copy(update={"portal": portal, "demographics": [SEAT]})
    both, look = threading.Barrier(2), joining.full_answers

    def looked(question: DemographicQuestion, places: int) -> Sequence[str]:
        found = look(question, places)
        with suppress(threading.BrokenBarrierError):
            both.wait(0.5)
        return found

    def ask() -> str:
        try:
            joining.join(file, {"consent": "yes", "about-seat": "left"})
        except joining.NotTaken:
            return "no place"
        finally:
            connection.close()
        return "taken"

    with patch.object(joining, "full_answers", looked), ThreadPoolExecutor(2) as pool:
        return sorted(each.result() for each in [pool.submit(ask), pool.submit(ask)])


if __name__ == "__main__":
    from ccai_dagster.portal.configuration import set_up

    chosen = chosen_consultation()
    set_up(chosen, home_of(chosen))
    print(*two_for_the_last_place(chosen))
