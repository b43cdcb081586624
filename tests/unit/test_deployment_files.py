"""What the files in deploy/ name exists: programs and their options, variables, services, files, settings."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
import yaml

from ccai_dagster.consultation.folder import SAMPLE, home_of, read_consultation

REPOSITORY = Path(__file__).resolve().parents[2]
DEPLOY = REPOSITORY / "deploy"
VARIABLE = re.compile(r"\$\{(\w+)")
OF_OTHERS = {
    *("AWS_ACCESS_KEY_ID", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY"),
    *("DAGSTER_HOME", "FSSPEC_S3"),
    *("MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_BACKEND_STORE_URI", "MLFLOW_SERVER_ALLOWED_HOSTS"),
    *("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "MLFLOW_TRACKING_URI"),
    *("CONSULTATION", "CONSULTATIONS", "POSTGRES_PASSWORD", "PUBLIC_DAGSTER_HOST", "PUBLIC_MLFLOW_HOST"),
    "PUBLIC_PORTAL_HOST",
}
"""Read by boto3, Dagster, fsspec, MLflow and the compose file itself."""


def _compose() -> dict[str, Any]:
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    assert isinstance(content, dict)
    return content


def _values() -> dict[str, Any]:
    content = yaml.safe_load((DEPLOY / "helm-values.yaml").read_text())
    assert isinstance(content, dict)
    return content


def _ours() -> dict[str, dict[str, Any]]:
    return {name: each for name, each in _compose()["services"].items() if each["image"].startswith("ccai:")}


def _offered() -> set[str]:
    """The variables of the example, also those that it leaves out."""
    return set(re.findall(r"^#?([A-Z][A-Z0-9_]+)=", (DEPLOY / "settings.example.env").read_text(), re.MULTILINE))


def _read_variables() -> set[str]:
    files = (path for room in ("ccai_dagster", "resources") for path in (REPOSITORY / room).rglob("*.py"))
    return {name for path in files for name in re.findall(r'"([A-Z]+_[A-Z_]+)"', path.read_text())}


@pytest.mark.parametrize("name", sorted(_ours()))
def test_every_service_starts_a_program_with_options_that_it_takes(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, *arguments = _ours()[name]["command"]
    commands = list(takewhile(lambda each: not each.startswith("-"), arguments))
    monkeypatch.setattr(sys, "argv", [program, *commands, "--help"])
    with pytest.raises(SystemExit) as ended:
        next(iter(entry_points(group="console_scripts", name=program))).load()()
    assert ended.value.code == 0
    taken = set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", capsys.readouterr().out))
    assert {each for each in arguments if re.fullmatch(r"--?[a-z][a-z-]*", each)} <= taken


def test_every_variable_that_is_named_is_offered_and_read() -> None:
    assert set(VARIABLE.findall((DEPLOY / "compose.yaml").read_text())) <= _offered()
    known = _read_variables() | OF_OTHERS
    assert _offered() <= known
    for service in _ours().values():
        assert set(service["environment"]) <= known
    assert {each["name"] for each in _values()["dagster-user-deployments"]["deployments"][0]["env"]} <= known


def test_services_read_the_dagster_home_that_is_prepared_for_the_consultation(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = _ours()["web"]["environment"]
    given = {name: value.replace("${CONSULTATION:?}", "my_town") for name, value in environment.items()}
    monkeypatch.setenv("CCAI_HOME", given["CCAI_HOME"])
    town = read_consultation(SAMPLE).model_copy(update={"folder": Path(given["CCAI_CONSULTATION"])})
    assert str(home_of(town).dagster) == given["DAGSTER_HOME"]
    assert given["CCAI_HOME"] in (DEPLOY / "Containerfile").read_text()


def test_no_secret_stands_in_a_file_and_only_the_proxy_is_reached_from_outside() -> None:
    services = _compose()["services"]
    assert [name for name, each in services.items() if "ports" in each] == ["proxy"]
    assert services["postgres"]["environment"]["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:?}"
    example = (DEPLOY / "settings.example.env").read_text()
    assert re.findall(r"(?:PASSWORD|KEY|KEY_ID)=(.+)", example) == []
    ignored = subprocess.run(["git", "check-ignore", "deploy/settings.env", "deploy/users"], cwd=REPOSITORY)
    assert ignored.returncode == 0


def test_services_find_each_other_and_the_image_has_what_it_copies() -> None:
    compose = _compose()
    [server] = yaml.safe_load((DEPLOY / "workspace.yaml").read_text())["load_from"]
    code = compose["services"][server["grpc_server"]["host"]]
    assert code["command"][-1] == str(server["grpc_server"]["port"])
    for service in compose["services"].values():
        assert set(service.get("depends_on", ())) <= set(compose["services"])
    assert re.findall(r"reverse_proxy (\w+):", (DEPLOY / "Caddyfile").read_text()) == ["web", "mlflow", "portal"]
    containerfile = (DEPLOY / "Containerfile").read_text()
    for line in re.findall(r"^COPY (.+) \S+$", containerfile, re.MULTILINE):
        assert [name for name in line.split() if not (REPOSITORY / name).exists()] == []
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    [deployment] = _values()["dagster-user-deployments"]["deployments"]
    assert {code["image"], f"ccai:{deployment['image']['tag']}"} == {f"ccai:{version}"}


def test_the_values_for_the_chart_limit_runs_as_everywhere_else() -> None:
    usual = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text())
    concurrency = _values()["concurrency"]
    assert concurrency["pools"]["defaultLimit"] == usual["concurrency"]["pools"]["default_limit"]
    assert concurrency["pools"]["granularity"] == usual["concurrency"]["pools"]["granularity"]
    assert concurrency["runs"]["maxConcurrentRuns"] == usual["concurrency"]["runs"]["max_concurrent_runs"]
