"""`ccai serve` and `ccai account`: the portal, in which a public votes and the team decides, and who may do what."""

import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from ccai_dagster.cli.ui import HOST, check_port
from ccai_dagster.consultation.folder import EMBEDDED, PORTAL, Consultation, home_of
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import Home
from ccai_dagster.core.text import listed
from resources.record import open_record

THREADS = 16
CONNECTIONS = 5000
"""Of one process; one that waits for its reader takes no thread."""
SECONDS_OF_THOUGHT = 30
"""That a connection stays open between two pages; shorter ones are cut just when somebody answers."""
MEMORY = "/dev/shm"  # noqa: S108
"""Where workers say that they live, so that a disk that is busy does not look like a worker that is dead."""
SECONDS_TO_END = 3
"""For requests under way when it is ended; a browser keeps its connection open, which else would be waited for."""


def serve(
    consultation: Consultation, port: int, say: Callable[[str], None], host: str = HOST, workers: int = 1
) -> None:
    """Become the web server of the portal.

    Args:
        host: Address of this machine to listen at; anything but the default is for a proxy elsewhere.
        workers: Processes.

    Raises:
        ConsultationError: The extra is not installed, the port is taken, or a file that is shown cannot be read.
    """
    _set_up(consultation, say)
    from ccai_dagster.portal.information_views import rendered
    from ccai_dagster.portal.team import add_seed_statements

    votes_here = consultation.votes == PORTAL
    if name := consultation.file.portal.questions_and_answers:
        rendered(consultation.path(name))
    if votes_here and (added := add_seed_statements(consultation)):
        lenient = consultation.file.moderation == "lenient"
        shown = "shown unless a moderator takes them out" if lenient else "shown once a moderator lets them in"
        say(f"{added} statements of the organisers were added, {shown}.")
    check_port(port, "--port")
    say(f"Participants  http://{host}:{port}/" if votes_here else "Votes come from elsewhere: for the team alone.")
    named = shlex.quote(str(consultation.folder))
    say(f"The team      http://{host}:{port}/desk/  (accounts: `ccai account NAME {named} --role ROLE --may DUTY`)")
    say(f"Raters        http://{host}:{port}/rate/  (with --rater)")
    if workers > 1:
        say(f"{workers} processes, each of which counts for itself what comes too fast.")
    say("Ctrl-C stops it.")
    environment = {**os.environ, "CCAI_CONSULTATION": str(consultation.folder)}
    command = server_command("ccai_dagster.portal.wsgi:application()", port, host, workers)
    os.execve(sys.executable, command, environment)  # noqa: S606


def server_command(application: str, port: int, host: str = HOST, workers: int = 1) -> list[str]:
    """Return the command of the web server for an application.

    Its master starts a process that died anew.
    """
    return [
        *(sys.executable, "-m", "gunicorn", "--bind", f"{host}:{port}", "--log-level", "warning"),
        *("--workers", str(workers), "--worker-tmp-dir", MEMORY if Path(MEMORY).is_dir() else tempfile.gettempdir()),
        *("--worker-class", "gthread", "--threads", str(THREADS), "--graceful-timeout", str(SECONDS_TO_END)),
        *("--keep-alive", str(SECONDS_OF_THOUGHT), "--worker-connections", str(CONNECTIONS)),
        application,
    ]


def account(
    consultation: Consultation,
    name: str,
    role: str | None,
    rates: bool,
    duties: Sequence[str],
    say: Callable[[str], None],
) -> None:
    """Make an account or renew its password; without a role, remove it.

    Args:
        rates: Whether it is a rater's.
        duties: What it may do at the desk.

    Raises:
        ConsultationError: The extra is not installed, there is no such account, or no such duty.
    """
    _set_up(consultation, say)
    from ccai_dagster.portal.team import keep_account, remove_account

    if role is None:
        remove_account(name)
        say(f"Removed {name}. What was decided with it stays on record.")
    else:
        password = keep_account(name, role, rates, duties)
        say(f"Password of {name}, who {'rates' if rates else f'may {listed(duties)}'} as {role}: {password}")


def _set_up(consultation: Consultation, say: Callable[[str], None]) -> None:
    try:
        from ccai_dagster.portal.configuration import set_up
    except ImportError as error:
        raise ConsultationError(
            f"The portal needs packages that are not installed ({error.name}): pip install 'ccai-dagster[portal]'."
        ) from error
    home = home_of(consultation)
    if left := left_behind(home):
        say(
            f"{home.folder} has no portal yet, so it begins empty. There are portals of consultations whose folders "
            f"are gone, in {listed(left)}: if this is one of them under another name, stop, and bring "
            f"{home.portal.name} and {home.portal_key.name} from there to {home.folder}."
        )
    open_record(home, consultation, say).dispose()
    set_up(consultation, home)


def left_behind(home: Home) -> list[Path]:
    """Return results with a portal whose consultation is no longer where it was, if this home has no portal yet.

    A consultation that was renamed would else seem to have lost its votes.
    """
    if home.portal_key.exists():
        return []
    others = [Home(home.root, key.parent.name) for key in sorted(home.root.glob(f"*/{home.portal_key.name}"))]
    addresses = {
        each.folder: each.source.read_text(encoding="utf-8").strip() for each in others if each.source.is_file()
    }
    return [each for each, address in addresses.items() if address != EMBEDDED and not Path(address).is_dir()]
