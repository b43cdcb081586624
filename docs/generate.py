"""Writes the pages of the documentation that follow from the code: tables, commands, settings, assets, modules.

    python docs/generate.py [FOLDER]

They go to `docs/generated`, which is not kept under version control; `make docs` writes them anew.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
import tomllib
import types
import typing
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import networkx as nx
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from rooms import rooms, rooms_svg, shown

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))
"""The code that is documented is the code beside this file."""

BOUNDS = {"ge": "from {}", "gt": "above {}", "le": "up to {}", "lt": "below {}", "min_length": "at least {} of them"}


def main(folder: Path) -> None:
    """Write all pages into `folder`."""
    (folder / "modules").mkdir(parents=True, exist_ok=True)
    for old in (folder / "modules").glob("*.md"):
        old.unlink()  # its room may be gone
    graph = rooms()
    pages = {
        "tables.md": tables_page(),
        "commands.md": commands_page(),
        "settings.md": settings_page(),
        "values.md": values_page(),
        "assets.md": assets_page(),
        "modules/index.md": modules_page(graph),
        **{f"modules/{shown(room)}.md": room_page(room) for room in graph},
        "rooms.svg": rooms_svg(graph),
    }
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")


def markdown_table(header: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """Return a table whose cells stand below each other on a phone; bars and line ends in cells are made harmless."""
    names = list(header)
    lines = [names, ["---"] * len(names), *rows]
    cells = [[" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines]
    table = "\n".join(f"| {' | '.join(line)} |" for line in cells)
    return f'<div class="stacked" markdown>\n\n{table}\n\n</div>\n'


# Tables


def contracts() -> dict[str, list[Any]]:
    """Return the contracts by the module that they stand in, in the order of the file."""
    from ccai_dagster import contracts as package

    found: dict[str, list[Any]] = {}
    named: set[str] = set()
    for module in pkgutil.iter_modules(package.__path__):
        each = importlib.import_module(f"{package.__name__}.{module.name}")
        own = [value for value in vars(each).values() if isinstance(value, package.Contract)]
        found[module.name] = [value for value in own if value.name not in named]
        named |= {value.name for value in own}
    by_arm = package.training_settings(["ARM"])
    found[package.training_settings.__module__.rpartition(".")[2]].append(by_arm)
    return {name: own for name, own in found.items() if own}


def tables_page() -> str:
    """Return the page of all tables: every column with its type and its sentence."""
    parts = [
        "# Tables",
        "Every table that goes from one stage to another keeps a contract: these columns, of these types, with a "
        "primary key that names a row. A table that breaks its contract is not stored. Tables are Parquet files below "
        "`.ccai/CONSULTATION/tables`; the same sentences stand in Dagster at each asset. A column may be empty only "
        "where it says so.",
    ]
    for module, own in contracts().items():
        parts.append(f"## {module.replace('_', ' ').capitalize()}")
        for each in own:
            parts.append(f"### `{each.name}`")
            parts.append(f"One row for each {', '.join(f'`{name}`' for name in each.key)}.")
            rows = [
                (f"`{name}`", f"`{field.dtype}`", "; ".join(_sentences(field))) for name, field in each.fields.items()
            ]
            parts.append(markdown_table(("column", "type", "meaning"), rows))
            if each.intervals:
                said = [f"`{value}` lies between `{low}` and `{high}`" for value, low, high in each.intervals]
                parts.append(f"Where there is a value, {'; '.join(said)}.")
    return "\n\n".join(parts) + "\n"


def _sentences(field: Any) -> Iterator[str]:
    yield field.meaning
    for check in field.checks:
        first = check.arguments[0]
        if check.name == "isin":
            yield "one of " + ", ".join(f"`{value}`" for value in first)
        elif check.name == "in_range":
            yield f"from {first:g} to {check.arguments[1]:g}"
        else:
            yield BOUNDS[check.name].format(f"{first:g}")
    if field.nullable:
        yield "may be empty"


# Commands


def commands_page() -> str:
    """Return the page of all commands with their arguments and options, as typer writes it."""
    from typer.cli import get_docs_for_click
    from typer.main import get_command

    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    command = get_command(pkgutil.resolve_name(project["scripts"]["ccai"]))
    context = command.make_context("ccai", ["status"])
    written = get_docs_for_click(obj=command, ctx=context, name="ccai", title="Commands")
    # Its lists of commands cut every sentence short; the sentences follow, and the page has a table of contents.
    whole = re.sub(r"\*\*Commands\*\*:\n\n(\* .*\n)+", "", written)
    return whole.replace("```console\n$ ", "```text\n")


# Settings


def settings_page() -> str:
    """Return the page of `consultation.yaml` and of the settings of its profiles."""
    from ccai_dagster.consultation.folder import ConsultationFile
    from ccai_dagster.consultation.settings import PROFILES

    demo, full = (PROFILES[name] for name in ("demo", "full"))
    parts = [
        "# Settings",
        "`consultation.yaml` says what was asked of whom, where everything is, and how much is computed. An unknown "
        "name is an error. What a person must answer for is no setting but a row of a [ledger](../ledgers.md); "
        "environment variables have [a page of their own](../environment.md).",
        *_model("consultation.yaml", ConsultationFile, skip=("profiles",)),
        "## `profiles`",
        "How much is computed. `demo` fits two cores and minutes, `full` a GPU and hours. What `consultation.yaml` "
        "says under `profiles.demo` or `profiles.full` takes the place of the value here; all else stays. A changed "
        "setting makes those assets stale that use it, and no other.",
    ]
    for name, field in type(demo).model_fields.items():
        model = _models(field.annotation)[0]
        if typing.get_origin(field.annotation) is dict:
            heading, *rest = _model(f"profiles.*.{name}.NAME", model)
            parts += [heading, f"{_meaning(field)[0].upper()}{_meaning(field)[1:]}.", *rest]
            continue
        parts += [f"### `profiles.*.{name}`", _opening(model)]
        parts.append(
            markdown_table(
                ("field", "type", "demo", "full", "meaning"),
                _profile_rows(model, getattr(demo, name), getattr(full, name)),
            )
        )
    return "\n\n".join(parts) + "\n"


def _model(name: str, model: type[BaseModel], skip: Iterable[str] = ()) -> Iterator[str]:
    yield f"## `{name}`"
    yield _opening(model)
    fields = {key: field for key, field in model.model_fields.items() if key not in set(skip)}
    rows = [(f"`{key}`", _type(field.annotation), _default(field), _meaning(field)) for key, field in fields.items()]
    yield markdown_table(("field", "type", "default", "meaning"), rows)
    for key, field in fields.items():
        for inner in _models(field.annotation):
            mapped = typing.get_origin(field.annotation) is dict
            yield from _model(f"{key}.NAME" if mapped else key if name.endswith(".yaml") else f"{name}.{key}", inner)


def _profile_rows(model: type[BaseModel], demo: Any, full: Any, prefix: str = "") -> Iterator[tuple[str, ...]]:
    for key, field in model.model_fields.items():
        one, other = getattr(demo, key), getattr(full, key)
        if isinstance(one, BaseModel):
            yield from _profile_rows(type(one), one, other, f"{prefix}{key}.")
        else:
            yield f"`{prefix}{key}`", _type(field.annotation), _shown(one), _shown(other), _meaning(field)


def _models(annotation: Any) -> list[type[BaseModel]]:
    """Return the groups of settings that an annotation names."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for each in typing.get_args(annotation) for model in _models(each)]


def _opening(thing: Any) -> str:
    return (thing.__doc__ or "").split("\n\n    Attributes:")[0].replace("\n    ", "\n").strip()


def _type(annotation: Any) -> str:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is type(None):
        return "null"
    if origin is typing.Literal:
        return " or ".join(map(str, arguments))
    if origin in (typing.Union, types.UnionType):
        return " or ".join(_type(each) for each in arguments)
    if origin is typing.Annotated:
        return _type(arguments[0])
    if origin is tuple:
        return f"list of ({_type(arguments[0])})"
    if origin is dict:
        return f"NAME: {_type(arguments[1])}"
    names = {str: "text", int: "whole number", float: "number", bool: "true or false"}
    if annotation in names:
        return names[annotation]
    return "settings" if _models(annotation) else "anything"


def _default(field: FieldInfo) -> str:
    return "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))


def _meaning(field: FieldInfo) -> str:
    said = [field.description] if field.description else []
    for each in field.metadata:
        for name, sentence in BOUNDS.items():
            if getattr(each, name, None) is not None:
                said.append(sentence.format(getattr(each, name)))
    return "; ".join(said)


def _shown(value: Any) -> str:
    if value is None:
        return "`null`"
    if isinstance(value, BaseModel):
        return "as below"
    if isinstance(value, bool):
        return f"`{value}`".lower()
    if isinstance(value, tuple):
        return ", ".join(f"`{each}`" for each in value) or "none"
    return "none" if value == {} else f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


# Values of decisions


def values_page() -> str:
    """Return the page of what the threshold and training ledgers settle."""
    from ccai_dagster.decisions.values import VALUES

    parts = [
        "# Values that are decided",
        "What the [ledgers](../ledgers.md) `threshold` and `training` settle. Each is a row that a person answers for; "
        "`ccai new` writes starting values that nobody has considered yet.",
    ]
    for kind, values in VALUES.items():
        rows = [
            (f"`{name}`", each.allowed.expected, _start(each.start, each.undecided), each.meaning)
            for name, each in values.items()
        ]
        parts += [f"## {kind.capitalize()}", markdown_table(("subject", "allowed", "at first", "meaning"), rows)]
    return "\n\n".join(parts) + "\n"


def _start(start: str | None, undecided: str | None) -> str:
    return f"no row, which means `{undecided}`" if start is None else f"`{start}`"


# Assets


def assets_page() -> str:
    """Return the page of the asset graph of the embedded consultation, folded over its arms."""
    from ccai_dagster.consultation.folder import BASE, SAMPLE, read_consultation
    from ccai_dagster.definitions import build_defs

    consultation = read_consultation(SAMPLE)
    defs = build_defs(consultation, REPOSITORY / ".ccai")
    graph, stages = defs.resolve_asset_graph(), [key for each in defs.assets or () for key in _keys(each)]
    of_an_arm = {BASE, *consultation.arms}
    by_group: dict[str, dict[str, tuple[str, ...]]] = {}
    for key in stages:
        node = graph.get(key)
        path = ["ARM", *key.path[1:]] if key.path[0] in of_an_arm else key.path
        kinds = ", ".join(sorted(node.kinds or ()))
        row = (kinds, node.description or "")
        by_group.setdefault(node.group_name or "other", {}).setdefault("/".join(path), row)
    parts = [
        "# Assets",
        "What exists, stage by stage, for the embedded consultation. A key that begins with `ARM` stands for one asset "
        "for each arm (evaluations also have `base`, the untrained model). `ccai run --select` takes these keys in "
        "Dagster's selection syntax, such as `key:gac_scores` or `group:deliberation`.",
    ]
    for group, rows in by_group.items():
        parts.append(f"## {group.replace('_', ' ').capitalize()}")
        parts.append(markdown_table(("key", "kinds", "what it is"), [(f"`{key}`", *row) for key, row in rows.items()]))
    return "\n\n".join(parts) + "\n"


def _keys(asset: Any) -> list[Any]:
    return [asset.key] if hasattr(asset, "io_manager_def") else list(asset.keys)


# Modules


def modules_page(graph: nx.DiGraph) -> str:
    """Return the page of all rooms: what each is for, how large it is, and what it imports from."""
    rows = []
    for room in nx.topological_sort(graph):
        opening = (importlib.import_module(room).__doc__ or "").split("\n\n")[0]
        below = ", ".join(shown(each) for each in sorted(graph.successors(room))) or "nothing"
        rows.append((f"[`{shown(room)}`]({shown(room)}.md)", graph.nodes[room]["modules"], below, opening))
    return (
        "# Modules\n\nThe rooms of the code from above to below; each imports only from rooms further down. How they "
        "fit together is told in [Architecture](../../architecture.md).\n\n"
        + markdown_table(("room", "modules", "imports from", "what belongs there"), rows)
    )


def room_page(room: str) -> str:
    """Return the page of a room: its modules with their public functions and classes."""
    own = importlib.import_module(room)
    names = [room]
    if hasattr(own, "__path__"):
        names += sorted(each.name for each in pkgutil.walk_packages(own.__path__, f"{room}."))
    parts = [f"# {shown(room)}"]
    for name in names:
        parts += [f"## `{name}`", f"::: {name}"]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "docs" / "generated")
