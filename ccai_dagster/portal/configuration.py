"""How Django is set up for one consultation: its database, its secret, and what is served to whom."""

from __future__ import annotations

import os
import secrets

import django
from django.conf import settings
from django.core.management import call_command

from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.home import Home, make_private

LOCAL_HOSTS = ("localhost", "127.0.0.1", "[::1]")
SECONDS_OF_A_SESSION = 12 * 3600
SECONDS_TO_WAIT = 20
"""For another process that writes to the database."""


def set_up(consultation: Consultation, home: Home) -> None:
    """Configure Django for a consultation, once in a process, and bring its database up to date.

    Where votes come from elsewhere, the database holds accounts, and participants are served nothing.
    """
    make_private(home.root)
    home.folder.mkdir(exist_ok=True)
    # Where people come from elsewhere, a proxy in front speaks TLS.
    hosts = [each.strip() for each in os.environ.get("CCAI_PORTAL_HOSTS", "").split(",") if each.strip()]
    settings.configure(
        CONSULTATION=consultation,
        HOME=home,
        SECRET_KEY=_secret(home),
        ALLOWED_HOSTS=[*LOCAL_HOSTS, *hosts],
        CSRF_TRUSTED_ORIGINS=[f"https://{host}" for host in hosts],
        CSRF_COOKIE_SECURE=bool(hosts),
        CSRF_FAILURE_VIEW="ccai_dagster.portal.participant_views.refused_form",
        SESSION_COOKIE_SECURE=bool(hosts),
        SESSION_ENGINE="django.contrib.sessions.backends.signed_cookies",
        SESSION_COOKIE_AGE=SECONDS_OF_A_SESSION,
        INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth", "ccai_dagster.portal"],
        AUTH_USER_MODEL="portal.Account",
        LOGIN_URL="sign_in",
        DEFAULT_AUTO_FIELD="django.db.models.AutoField",
        ROOT_URLCONF="ccai_dagster.portal.addresses",
        MIDDLEWARE=[
            "django.middleware.security.SecurityMiddleware",
            "ccai_dagster.portal.participant_views.own_content_only",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            "ccai_dagster.portal.participant_views.in_utf_8_only",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "APP_DIRS": True,
                "OPTIONS": {"context_processors": ["ccai_dagster.portal.participant_views.on_every_page"]},
            }
        ],
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": home.portal,
                "CONN_MAX_AGE": None,
                "OPTIONS": {
                    "transaction_mode": "IMMEDIATE",
                    "timeout": SECONDS_TO_WAIT,
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;",
                },
            }
        },
        USE_TZ=True,
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"stderr": {"class": "logging.StreamHandler"}},
            "loggers": {"django": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
        },
    )
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    home.portal.chmod(0o600)


def _secret(home: Home) -> str:
    """The secret that sessions are signed with, made at the first start."""
    try:
        descriptor = os.open(home.portal_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return home.portal_key.read_text(encoding="ascii")
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(secret := secrets.token_urlsafe(48))
    return secret
