"""What the project overrides of its libraries exists there: an override that nobody calls any more raises nothing."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pkgutil
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from ccai_dagster.stages.training import PreferenceModelStage

REPOSITORY = Path(__file__).resolve().parents[2]
LIBRARIES = {"dagster", "lm_eval", "peft", "transformers", "trl"}
BOUNDED = {
    *("accelerate", "dagster", "dagster-pipes", "dagster-webserver", "lm-eval", "mlflow", "prov"),
    *("pandera", "peft", "polars", "pypdf", "transformers", "trl"),
}


def product() -> list[ast.Module]:
    files = chain.from_iterable(
        (REPOSITORY / folder).rglob("*.py") for folder in ("ccai_dagster", "assets", "resources")
    )
    return [ast.parse(file.read_text(encoding="utf-8")) for file in sorted(files)]


def subclasses(tree: ast.Module) -> Iterator[tuple[ast.ClassDef, str]]:
    """Every class in a module, those in functions too, with the address of a library class that it extends."""
    addresses = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            addresses |= {each.asname or each.name: f"{node.module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Import):
            addresses |= {each.asname or each.name: each.name for each in node.names}
    for node in ast.walk(tree):
        for base in node.bases if isinstance(node, ast.ClassDef) else ():
            name, _, rest = ast.unparse(base.value if isinstance(base, ast.Subscript) else base).partition(".")
            address = f"{addresses.get(name, name)}.{rest}".rstrip(".")
            if address.split(".")[0] in LIBRARIES:
                yield node, address


def reads(tree: ast.AST) -> set[str]:
    """Names of attributes that are read, but for those of `super()`."""
    return {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute) and not of_super(node.value)}


def of_super(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "super"


def difference(method: ast.FunctionDef, inherited: Any) -> str:
    """What a call that suits the library's method would meet in this one."""
    given, kinds = method.args, inspect.Parameter
    own = [each.arg for each in (*given.posonlyargs, *given.args)]
    named = {*own, *(each.arg for each in given.kwonlyargs)}
    theirs = inspect.signature(inherited).parameters
    positional = [each.name for each in theirs.values() if each.kind <= kinds.POSITIONAL_OR_KEYWORD]
    every = {each.name for each in theirs.values() if each.kind not in (kinds.VAR_POSITIONAL, kinds.VAR_KEYWORD)}
    if any(first != second for first, second in zip(own, positional, strict=False)):
        return f"takes {own}, not {positional}"
    if every - named and not (given.vararg or given.kwarg):
        return f"does not take {sorted(every - named)}"
    if named - every and not any(each.kind == kinds.VAR_KEYWORD for each in theirs.values()):
        return f"takes {sorted(named - every)}, which nobody gives it"
    return ""


def faults(trees: list[ast.Module]) -> list[str]:
    """Overrides that their library would not call, and calls of what is not there."""
    read = set().union(*map(reads, trees))
    found = []
    for cls, address in chain.from_iterable(map(subclasses, trees)):
        parent = pkgutil.resolve_name(address)
        there = set(dir(parent))
        methods = {node.name: node for node in cls.body if isinstance(node, ast.FunctionDef)}
        for name, method in methods.items():
            inherited = getattr(parent, name) if name in there else None
            if inherited is None and name not in read:
                found.append(f"{cls.name}.{name}: {address} has none, and nobody calls it")
            # Objects of these classes are made here, and mypy looks at that.
            elif name != "__init__" and callable(inherited) and (trouble := difference(method, inherited)):
                found.append(f"{cls.name}.{name}: {trouble}")
        for call in ast.walk(cls):
            if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute)):
                continue
            name, of = call.func.attr, call.func.value
            own = isinstance(of, ast.Name) and of.id == "self" and name not in methods
            if (own or of_super(of)) and name not in there:
                found.append(f"{cls.name} calls {name}: {address} has none")
    return found


@pytest.mark.torch
def test_what_is_overridden_and_called_exists_in_the_library() -> None:
    trees = product()
    addresses = {address for _, address in chain.from_iterable(map(subclasses, trees))}
    # Classes in functions are found as well.
    assert {"trl.DPOTrainer", "trl.RLOOTrainer", "trl.RewardTrainer", "lm_eval.api.model.LM"} <= addresses
    assert faults(trees) == []


@pytest.mark.torch
def test_what_stages_say_they_import_exists_in_the_libraries() -> None:
    names = PreferenceModelStage.model_construct().libraries
    assert {"torch", "trl.trainer.dpo_trainer"} <= {*names}
    assert [name for name in names if importlib.util.find_spec(name) is None] == []


@pytest.mark.torch
def test_overrides_and_calls_that_are_misspelt_are_found() -> None:
    source = """
def steps():
    from transformers import TrainerCallback

    class Steps(TrainerCallback):
        def on_step_ends(self, args, state, control, **kwargs):
            return super().on_step_ends(args, state, control, **kwargs)

        def on_save(self, arguments, state, control, **kwargs):
            self.seal_it()

        def on_log(self, args, state, control, logs=None, **kwargs):
            self.own()

        def on_evaluate(self, args, state):
            pass

        def own(self):
            pass
"""
    assert faults([ast.parse(source)]) == [
        "Steps.on_step_ends: transformers.TrainerCallback has none, and nobody calls it",
        "Steps.on_save: takes ['self', 'arguments', 'state', 'control'], not ['self', 'args', 'state', 'control']",
        "Steps.on_evaluate: does not take ['control']",
        "Steps calls on_step_ends: transformers.TrainerCallback has none",
        "Steps calls seal_it: transformers.TrainerCallback has none",
    ]


def test_bounds_of_dependencies_hold_the_versions_that_are_tested() -> None:
    content = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").split()
    tested = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}
    required = [Requirement(text) for text in content["project"]["dependencies"]]
    outside = [str(each) for each in required if not each.specifier.contains(tested[canonicalize_name(each.name)])]
    assert outside == []
    bounds = {each.name: sorted(bound.operator for bound in each.specifier) for each in required}
    assert {name for name, operators in bounds.items() if operators == ["<", ">="]} == BOUNDED
