"""What a web server serves: the portal of the consultation that `CCAI_CONSULTATION` names."""

from __future__ import annotations

from typing import Any

from ccai_dagster.consultation.folder import chosen_consultation, home_of


def application() -> Any:
    """Make the WSGI application; the settings are those of the environment."""
    from ccai_dagster.portal.configuration import set_up

    consultation = chosen_consultation()
    set_up(consultation, home_of(consultation))
    from django.core.wsgi import get_wsgi_application

    return get_wsgi_application()
