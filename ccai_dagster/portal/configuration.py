"""How Django is set up for one consultation: its database, its secret, and what is served to whom."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Any

import django
from django.conf import settings
from django.core.management import call_command

from ccai_dagster.consultation.folder import Consultation
from ccai_dagster.core.home import Home, make_private
from ccai_dagster.core.portal_database import VARIABLE, claim_schema, in_postgres, portal_schema
from ccai_dagster.core.postgres import server
from ccai_dagster.portal.catalogues import compiled_texts

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
        CSRF_FAILURE_VIEW="ccai_dagster.portal.pages.refused_form",
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
            "ccai_dagster.portal.pages.head_of_a_page",
            "ccai_dagster.portal.pages.own_content_only",
            "ccai_dagster.portal.pages.no_form_is_a_page",
            "ccai_dagster.portal.languages.in_an_offered_language",
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.common.CommonMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
            "django.middleware.clickjacking.XFrameOptionsMiddleware",
            "ccai_dagster.portal.pages.in_utf_8_only",
        ],
        TEMPLATES=[
            {
                "BACKEND": "django.template.backends.django.DjangoTemplates",
                "OPTIONS": {
                    "context_processors": ["ccai_dagster.portal.pages.on_every_page"],
                    "loaders": [
                        ("ccai_dagster.portal.languages.Templates", ["django.template.loaders.app_directories.Loader"])
                    ],
                },
            }
        ],
        DATABASES={"default": _postgres(home.portal) if in_postgres() else _sqlite(home.portal)},
        USE_TZ=True,
        LANGUAGES=[(code, code) for code in consultation.portal_languages],
        LANGUAGE_CODE=consultation.portal_languages[0],
        LANGUAGE_COOKIE_SECURE=bool(hosts),
        LANGUAGE_COOKIE_HTTPONLY=True,
        LOCALE_PATHS=[compiled_texts(home.cache)],
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"stderr": {"class": "logging.StreamHandler"}},
            "loggers": {"django": {"handlers": ["stderr"], "level": "ERROR", "propagate": False}},
        },
    )
    django.setup()
    if in_postgres():
        claim_schema(home.portal)
    call_command("migrate", verbosity=0, interactive=False)
    if not in_postgres():
        home.portal.chmod(0o600)


def _sqlite(database: Path) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": database,
        "CONN_MAX_AGE": None,
        "OPTIONS": {
            "transaction_mode": "IMMEDIATE",
            "timeout": SECONDS_TO_WAIT,
            "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;",
        },
    }


def _postgres(database: Path) -> dict[str, Any]:
    """The schema of this consultation, by the address in the environment, whose own options stay."""
    address = server(VARIABLE)
    more = {name: value for name, value in address.query.items() if name not in ("host", "port", "options")}
    options = f"{address.query.get('options', '')} -c search_path={portal_schema(database)}".strip()
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.database,
        "USER": address.username or "",
        "PASSWORD": address.password or "",
        "HOST": address.host or address.query.get("host", ""),
        "PORT": address.port or address.query.get("port", ""),
        "CONN_MAX_AGE": None,
        # A server that was started anew meanwhile is found again.
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {**more, "options": options},
    }


def _secret(home: Home) -> str:
    """The secret that sessions are signed with, made at the first start."""
    try:
        descriptor = os.open(home.portal_key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return home.portal_key.read_text(encoding="ascii")
    with os.fdopen(descriptor, "w", encoding="ascii") as handle:
        handle.write(secret := secrets.token_urlsafe(48))
    return secret
