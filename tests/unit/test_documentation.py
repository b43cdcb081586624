"""What the documentation names exists, and what exists is documented."""

from __future__ import annotations

import importlib.util
import pkgutil
import re
import runpy
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from ccai_dagster import contracts
from ccai_dagster.consultation.folder import SAMPLE, ConsultationFile, read_consultation
from ccai_dagster.decisions.values import VALUES
from ccai_dagster.feedback.prompts import read_comparisons

REPOSITORY = Path(__file__).resolve().parents[2]
DOCS = REPOSITORY / "docs"
PAGES = [
    *sorted(DOCS.glob("*.md")),
    *(REPOSITORY / f"{name}.md" for name in ("README", "CONTRIBUTING", "SECURITY", "ccai_dagster/sample/README")),
]
"""Not the changelog: it tells of what was."""
CODE = ("ccai_dagster", "assets", "resources")
LINK = re.compile(r"\]\(([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
COMMAND_LINE = re.compile(r"^\s*(?:[A-Z_]+=\S+ )*(?:\S*/)?ccai (?!\[)(.+)$", re.MULTILINE)
NAMED_PLACE = re.compile(r"(?:ccai_dagster|assets|resources|sample|tests|docs|configs|bench)/[\w./-]*")


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The pages that follow from the code."""
    folder = tmp_path_factory.mktemp("docs") / "generated"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(DOCS)
        runpy.run_path(str(DOCS / "generate.py"))["main"](folder)
    return folder


def _command_line() -> Any:
    from typer.main import get_command

    scripts = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["scripts"]
    return get_command(pkgutil.resolve_name(scripts["ccai"]))


def _commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    for sub, each in getattr(command, "commands", {}).items():
        yield f"{name} {sub}", each
        yield from _commands(each, f"{name} {sub}")


def _models(model: type[BaseModel], seen: set[type[BaseModel]]) -> set[type[BaseModel]]:
    from typing import get_args

    def named(annotation: Any) -> Iterator[type[BaseModel]]:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield annotation
        for each in get_args(annotation):
            yield from named(each)

    if model not in seen:
        seen.add(model)
        for field in model.model_fields.values():
            for inner in named(field.annotation):
                _models(inner, seen)
    return seen


def test_every_column_of_every_table_is_documented(generated: Path) -> None:
    sections = (generated / "tables.md").read_text().split("\n### ")[1:]
    page = {section.split("`")[1]: section for section in sections}
    tables = [each for each in vars(contracts).values() if isinstance(each, contracts.Contract)]
    assert {table.name for table in tables} | {"training_settings"} == set(page)
    for table in tables:
        for name, field in table.fields.items():
            meaning = field.meaning.replace("|", "\\|")
            assert f"| `{name}` | `{field.dtype}` | {meaning}" in page[table.name]


def test_every_command_and_option_is_documented(generated: Path) -> None:
    page = (generated / "commands.md").read_text()
    for name, command in _commands(_command_line(), "ccai"):
        section = page.split(f"# `{name}`\n")[1].split("\n## ")[0]
        for parameter in command.params:
            for option in parameter.opts:
                assert option in section or parameter.param_type_name == "argument", (name, option)


def test_every_setting_is_documented(generated: Path) -> None:
    page = (generated / "settings.md").read_text()
    profile = read_consultation(SAMPLE).profile
    for model in _models(ConsultationFile, set()) | _models(type(profile), set()):
        for name, field in model.model_fields.items():
            assert field.description or model is type(profile), f"{model.__name__}.{name} says nothing of what it means"
            assert re.search(rf"`(\w+\.|profiles\.\*\.)*{name}[`.]", page), (model.__name__, name)


def test_every_value_of_a_decision_is_documented(generated: Path) -> None:
    page = (generated / "values.md").read_text()
    for name, value in [each for values in VALUES.values() for each in values.items()]:
        assert f"| `{name}` | {value.allowed.expected} |" in page
        assert value.meaning in page


def test_the_ledgers_list_every_value_that_they_settle() -> None:
    page = (DOCS / "ledgers.md").read_text()
    for kind, values in VALUES.items():
        (row,) = re.findall(rf"^\| {kind} \| (.+?) \|", page, re.MULTILINE)
        assert set(SPAN.findall(row)) == {name for name, value in values.items() if not value.is_policy}


def test_the_comparison_shown_is_one_that_is_read(tmp_path: Path) -> None:
    (shown,) = re.findall(r"```json\n(.+?)```", (DOCS / "evaluation.md").read_text(), re.DOTALL)
    (tmp_path / "shown.jsonl").write_text(shown)
    (row,) = read_comparisons(tmp_path / "shown.jsonl").to_dicts()
    assert row["probability_a"] == 0.0 and row["principle"]


def test_every_environment_variable_is_documented() -> None:
    page = (DOCS / "environment.md").read_text()
    files = [path for root in CODE for path in (REPOSITORY / root).rglob("*.py")]
    read = {name for path in files for name in re.findall(r'"(CCAI_[A-Z_]+)"', path.read_text())}
    assert "CCAI_HOME" in read
    assert sorted(name for name in read if f"`{name}`" not in page) == []


def test_every_asset_is_documented(generated: Path) -> None:
    page = (generated / "assets.md").read_text()
    for key in ("raw_votes", "moderation_ledger", "gac_scores", "ARM/policy", "eval_scores", "audit_report"):
        assert f"| `{key}` |" in page


def test_every_room_is_in_the_picture_and_in_the_list(generated: Path) -> None:
    rooms = {path.name for path in (REPOSITORY / "ccai_dagster").iterdir() if (path / "__init__.py").exists()}
    picture, page = (generated / "rooms.svg").read_text(), (generated / "modules" / "index.md").read_text()
    for room in sorted(rooms | {"assets", "resources"}):
        assert f">{room}</text>" in picture
        assert f"[`{room}`]({room}.md)" in page
        assert (generated / "modules" / f"{room}.md").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_command_line_in_it_is_one_that_ccai_takes(page: Path) -> None:
    for line in COMMAND_LINE.findall(page.read_text()):
        words = shlex.split(line, comments=True)
        command, name = _command_line(), "ccai"
        while hasattr(command, "commands"):
            assert words[0] in command.commands, f"{name} {words[0]}"
            name, command, words = f"{name} {words[0]}", command.commands[words[0]], words[1:]
        command.make_context(name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_command_and_option_in_its_text_exists(page: Path) -> None:
    known = dict(_commands(_command_line(), "ccai"))
    for span in SPAN.findall(page.read_text()):
        if not span.startswith("ccai ") or span.split()[1] in ("COMMAND", "--help"):
            continue
        words = span.split()
        name = " ".join(words[:3]) if " ".join(words[:3]) in known else " ".join(words[:2])
        options = {option for parameter in known[name].params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, span


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_place_in_it_exists(page: Path) -> None:
    named = {span for span in SPAN.findall(page.read_text()) if NAMED_PLACE.fullmatch(span)}
    assert sorted(place for place in named - {"docs/generated/"} if not (REPOSITORY / place).exists()) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_name_stands_in_the_module_that_it_is_said_to_stand_in(page: Path) -> None:
    for name, place in re.findall(r"`([A-Za-z_]+)`\s+in\s+`([\w/]+\.py)`", page.read_text()):
        assert re.search(rf"^(?:def|class)? ?{name}\b", (REPOSITORY / place).read_text(), re.MULTILINE), (name, place)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_module_that_it_starts_exists(page: Path) -> None:
    for name in re.findall(r"python (?:-m pdb )?-m ((?:ccai_dagster|sample)[\w.]*)", page.read_text()):
        assert importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_every_link_in_it_leads_somewhere(page: Path, generated: Path) -> None:
    for link in LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        place, _, anchor = link.partition("#")
        path = (page.parent / place).resolve() if place else page
        if path.is_relative_to(DOCS / "generated"):
            path = generated / path.relative_to(DOCS / "generated")
        assert path.exists(), link
        assert not anchor or anchor in _anchors(path), link


def test_every_page_has_its_place_in_the_site() -> None:
    def pages(entries: list[Any]) -> Iterator[str]:
        for entry in entries:
            inner = next(iter(entry.values())) if isinstance(entry, dict) else entry
            yield from pages(inner) if isinstance(inner, list) else [inner]

    listed = set(pages(yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text())["nav"]))
    assert {page for page in listed if not page.startswith("generated/")} == {page.name for page in DOCS.glob("*.md")}


def test_every_target_of_make_that_is_named_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE))
    named = {
        name for page in PAGES for name in re.findall(r"^(?:\w+=\S+ )?make (\w+)|`make (\w+)`", page.read_text(), re.M)
    }
    assert {"run", "test", "docs"} <= {block or span for block, span in named} <= targets


def test_changelog_and_citation_know_the_version() -> None:
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    assert citation["version"] == version
    assert f"## [{version}] - {citation['date-released']}" in (REPOSITORY / "CHANGELOG.md").read_text()


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def test_the_notice_names_every_model_that_is_fetched() -> None:
    from ccai_dagster.stages import sentence_model
    from ccai_dagster.training import model_folder

    notice = (REPOSITORY / "NOTICE").read_text()
    for fetched in (model_folder.EMBEDDED, sentence_model.EMBEDDED):
        assert f"From {fetched.package}" in notice
