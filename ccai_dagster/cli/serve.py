"""`ccai serve` and `ccai account`: the portal, in which a public votes and moderators decide, and who may moderate."""

import os
import shlex
import sys
from collections.abc import Callable

from ccai_dagster.cli.ui import HOST, check_port
from ccai_dagster.consultation.folder import Consultation, home_of
from ccai_dagster.core.errors import ConsultationError
from resources.record import open_record

THREADS = 16
SECONDS_TO_END = 3
"""For requests under way when it is ended; a browser keeps its connection open, which else would be waited for."""


def serve(consultation: Consultation, port: int, say: Callable[[str], None]) -> None:
    """Become the web server of the portal.

    Raises:
        ConsultationError: The votes come from elsewhere, the extra is not installed, the port is taken, or a file that
            is shown cannot be read.
    """
    _set_up(consultation, say)
    from ccai_dagster.portal.information_views import rendered
    from ccai_dagster.portal.team import add_seed_statements

    if name := consultation.file.portal.questions_and_answers:
        rendered(consultation.path(name))
    if added := add_seed_statements(consultation):
        lenient = consultation.file.moderation == "lenient"
        shown = "shown unless a moderator takes them out" if lenient else "shown once a moderator lets them in"
        say(f"{added} statements of the organisers were added, {shown}.")
    check_port(port, "--port")
    say(f"Participants  http://{HOST}:{port}/")
    named = shlex.quote(str(consultation.folder))
    say(f"Moderators    http://{HOST}:{port}/desk/  (accounts: `ccai account NAME {named} --role ROLE`)")
    say(f"Raters        http://{HOST}:{port}/rate/  (with --rater)")
    say("Ctrl-C stops it.")
    environment = {**os.environ, "CCAI_CONSULTATION": str(consultation.folder)}
    command = server_command("ccai_dagster.portal.wsgi:application()", port)
    os.execve(sys.executable, command, environment)  # noqa: S606


def server_command(application: str, port: int) -> list[str]:
    """Return the command of the web server for an application."""
    # One process, since what is known of the votes is kept in it; SQLite lets one write at a time anyway.
    return [
        *(sys.executable, "-m", "gunicorn", "--bind", f"{HOST}:{port}", "--workers", "1", "--log-level", "warning"),
        *("--worker-class", "gthread", "--threads", str(THREADS), "--graceful-timeout", str(SECONDS_TO_END)),
        application,
    ]


def account(consultation: Consultation, name: str, role: str | None, rates: bool, say: Callable[[str], None]) -> None:
    """Make an account or renew its password; without a role, remove it.

    Args:
        rates: Whether it is a rater's.

    Raises:
        ConsultationError: The votes come from elsewhere, the extra is not installed, or there is no such account.
    """
    _set_up(consultation, say)
    from ccai_dagster.portal.team import keep_account, remove_account

    if role is None:
        remove_account(name)
        say(f"Removed {name}. What was decided with it stays on record.")
    else:
        say(f"Password of {name}, who {'rates' if rates else 'decides'} as {role}: {keep_account(name, role, rates)}")


def _set_up(consultation: Consultation, say: Callable[[str], None]) -> None:
    try:
        from ccai_dagster.portal.configuration import set_up
    except ImportError as error:
        raise ConsultationError(
            f"The portal needs packages that are not installed ({error.name}): pip install 'ccai-dagster[portal]'."
        ) from error
    home = home_of(consultation)
    open_record(home, consultation, say).dispose()
    set_up(consultation, home)
