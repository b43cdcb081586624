"""How a function becomes an asset whose product is a table that keeps its contract.

Belongs here: what all assets that are tables share, that is checks, metadata, code versions, and the record of which
ledgers they were made from. No asset is defined here.

Assets: https://docs.dagster.io/guides/build/assets/defining-assets
Asset checks: https://docs.dagster.io/guides/test/asset-checks
"""

import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import dagster as dg
import polars as pl

from ccai_dagster import contracts
from ccai_dagster.consultation.settings import Settings
from ccai_dagster.contracts import Contract
from ccai_dagster.core.digest import SHORT, file_digest, table_digest, value_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import write_file
from ccai_dagster.core.home import Home
from ccai_dagster.core.text import markdown, printable
from ccai_dagster.decisions.checks import Finding
from ccai_dagster.decisions.ledger import ledger_digest, read_ledger
from ccai_dagster.pages import drawings, pictures
from resources import run_tags
from resources.history import data_version

PREVIEW_ROWS = 8
PREVIEW_WIDTH = 160
BELOW_HOME = "below CCAI_HOME"
"""Entry in the metadata of a file of the report: where it is."""
EXAMPLES = 5
"""How many findings a failing check names."""
LONGEST_CHECK = 300
"""Characters of the line that a check says; its metadata have all."""
PYTHON = frozenset({"python"})
LEDGER = "_ledger"
Made = TypeVar("Made")
Results: TypeAlias = Iterator[dg.AssetCheckResult | dg.MaterializeResult[pl.DataFrame]]


@dataclass(frozen=True)
class Checked:
    """A check that was made while the asset was computed.

    Attributes:
        findings: What was found; an error stops everything that follows.
        warns: Whether warnings make the check fail, which stops nothing; else they are only listed.
    """

    name: str
    findings: Sequence[Finding]
    warns: bool = False


@dataclass(frozen=True)
class Table:
    """What the function of an asset returns.

    Attributes:
        metadata: What is worth looking at.
        checks: Checks beside the contract.
        version: Data version, if it is not the digest of the whole table.
    """

    frame: pl.DataFrame
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checks: Sequence[Checked] = ()
    version: str | None = None


class Refused(Exception):
    """Checks found something that keeps the table from being computed at all."""

    def __init__(self, checks: Sequence[Checked]) -> None:
        super().__init__()
        self.checks = checks


class InputChanged(ConsultationError):
    """An input is not what it was when it was last observed, so what is made of it would be on record as made of that.

    Where a sensor started the run, nobody mends anything: the sensors observe again, and make it then. The run makes
    nothing of it and succeeds, and the checks of what was not made say why. Anywhere else it is an error.
    """


CHECKS = {
    "contract": "Columns, types, keys and values are as the contract of the table says.",
    "whole": "Nothing is missing that the last import had or the export states, or somebody signed it.",
    "moderation": "The moderation ledger decides on statements that are there, each once, by the texts as they are.",
    "moderation_mode": "The export does not speak against the mode of moderation that is set.",
    "exclusions": "The exclusion ledger names people who took part.",
    "numeric_decisions": "Every number is decided once, and within its range.",
    "targets": "The public’s shares are those of answers that were asked for.",
    "structure": "The votes show more structure than chance would.",
    "group_sizes": "No opinion group is so small that a few people make it.",
    "reachable": "A statement that everybody agrees with could reach the cut with these groups.",
    "ideas": "The idea ledger splits statements that are in, by the texts as they are.",
    "merges": "The merge ledger puts statements together that are in, by the texts as they are.",
    "wordings": "Every wording rests on statements that reach the cut, on the side that its principle takes.",
    "signoff": "Somebody has signed this constitution, word by word.",
    "every_principle_has_prompts": "Enough prompts for training are relevant to every principle.",
    "training_decisions": "Every value of training is decided once, and within its range.",
    "one_difference": "Arms that are compared were trained alike but for their constitution.",
    "controls_at_nil": "Principles of the control that nothing was trained on show no effect.",
    "no_regression": "No score fell so far that the model itself must be doubted.",
    "training_follows_the_judge": "The two models of the positive control came to lie apart, each as it was taught.",
    "decision_ids": "Every decision that is cited stands in a ledger.",
}
"""What each check holds, as Dagster shows it."""


def check_spec(name: str, asset: dg.AssetKey | str) -> dg.AssetCheckSpec:
    """Return a check that stops what follows an asset, with what it holds."""
    return dg.AssetCheckSpec(name, asset=asset, blocking=True, description=CHECKS.get(name))


def mendable(error: ConsultationError, context: dg.AssetExecutionContext) -> Iterator[dg.AssetCheckResult]:
    """Turn an error that a person or the next run mends into the end of an asset.

    Raises:
        dg.Failure: A person must mend it.
    """
    started_by = context.run.tags.get(run_tags.STARTED_BY, "")
    if not (isinstance(error, InputChanged) and started_by.startswith(run_tags.SENSOR)):
        raise dg.Failure(str(error), allow_retries=False) from error
    context.log.warning(str(error))
    what = f"nothing was made, and it will be by itself: {error}"
    for check in sorted(context.selected_asset_check_keys):
        yield dg.AssetCheckResult(
            passed=False,
            asset_key=check.asset_key,
            check_name=check.name,
            severity=dg.AssetCheckSeverity.WARN,
            description=printable(what, LONGEST_CHECK),
            metadata={"what": what},
        )


def require(*checks: Checked) -> list[Checked]:
    """Return the checks, to be published with the table.

    For what an asset checks before it computes: findings on ledgers that it could not read any further.

    Raises:
        Refused: One of them found an error; the results go on record and the asset fails.
    """
    if any(finding.severity == "error" for check in checks for finding in check.findings):
        raise Refused(checks)
    return list(checks)


def code_version(method: str, settings: Sequence[Settings | str | int]) -> str:
    """Return a code version that changes with the method's version and with the settings it uses."""
    values = [each.digest() if isinstance(each, Settings) else each for each in settings]
    return f"{method}-{value_digest(values)[:SHORT]}"


def table_asset(
    contract: Contract,
    *,
    group: str,
    owner: str,
    description: str,
    kinds: Set[str] = PYTHON,
    key_prefix: str | None = None,
    method: str = "1",
    settings: Sequence[Settings | str | int] = (),
    deps: Sequence[dg.AssetKey] = (),
    ins: Mapping[str, Sequence[str]] | None = None,
    checks: Sequence[str] = (),
    pool: str | None = None,
) -> Callable[[Callable[..., Table]], dg.AssetsDefinition]:
    """Make an asset, named like the function, out of a function that returns a `Table`.

    Parameters annotated as tables receive the asset of their name, unless `ins` says another; resources are passed by
    type and Dagster's `context` by name. The table is checked against its contract before it is stored, so that one
    that breaks it never replaces one that kept it. What isn't described here means what it means to `dg.asset`.

    Args:
        kinds: Beside polars and Parquet.
        key_prefix: The arm, where every arm has such an asset.
        method: Version of the method; raise it when the method gives other results.
        settings: Settings the method uses.
        deps: Assets it depends on that are no tables, ledgers above all.
        ins: Parameter name to key of the table it receives, where they differ.
        checks: Names of further blocking checks that the function makes.
    """

    def decorate(function: Callable[..., Table]) -> dg.AssetsDefinition:
        key = dg.AssetKey([*([key_prefix] if key_prefix else []), function.__name__])

        computed = _with_context(function)

        @functools.wraps(computed)
        def body(context: dg.AssetExecutionContext, **inputs: Any) -> Results:
            try:
                table = computed(context, **inputs)
                used = ledgers_used(context.instance, deps)
            except Refused as refused:
                yield from stop(key, refused)
                return
            except ConsultationError as error:
                yield from mendable(error, context)
                return
            yield from publish(replace(table, metadata={**table.metadata, **used}), contract, key)

        return dg.asset(
            key=key,
            group_name=group,
            description=description,
            owners=[owner],
            kinds={*kinds, "polars", "parquet"},
            code_version=code_version(method, settings),
            deps=list(deps),
            ins=_inputs(function, ins),
            check_specs=[check_spec(name, key) for name in ("contract", *checks)],
            io_manager_key="tables",
            dagster_type=dg.Any,
            output_required=False,
            pool=pool,
        )(body)

    return decorate


def table_assets(
    products: Sequence[tuple[Contract, str]],
    *,
    group: str,
    owner: str,
    kinds: Set[str] = PYTHON,
    method: str = "1",
    settings: Sequence[Settings | str | int] = (),
    deps: Sequence[dg.AssetKey] = (),
    ins: Mapping[str, Sequence[str]] | None = None,
) -> Callable[[Callable[..., Mapping[str, Table]]], dg.AssetsDefinition]:
    """Make several assets out of a function that computes their tables together; the rest is as in `table_asset`.

    Any of them can be materialized alone: then the others are computed with it and not stored.

    Args:
        products: Schema of each table, whose name is its asset key, and what the table is, for people. The
            function returns the tables by that name.
    """
    keys = {contract.name: dg.AssetKey(contract.name) for contract, _ in products}

    def decorate(function: Callable[..., Mapping[str, Table]]) -> dg.AssetsDefinition:
        computed = _with_context(function)

        @functools.wraps(computed)
        def body(context: dg.AssetExecutionContext, **inputs: Any) -> Results:
            try:
                tables = computed(context, **inputs)
            except ConsultationError as error:
                raise dg.Failure(str(error), allow_retries=False) from error
            for contract, _ in products:
                if keys[contract.name] in context.selected_asset_keys:
                    yield from publish(tables[contract.name], contract, keys[contract.name])

        outs = {
            contract.name: dg.AssetOut(
                key=keys[contract.name],
                group_name=group,
                description=description,
                owners=[owner],
                kinds={*kinds, "polars", "parquet"},
                code_version=code_version(method, settings),
                io_manager_key="tables",
                dagster_type=dg.Any,
                is_required=False,
            )
            for contract, description in products
        }
        return dg.multi_asset(
            name=function.__name__,
            outs=outs,
            deps=list(deps),
            ins=_inputs(function, ins),
            check_specs=[check_spec("contract", key) for key in keys.values()],
            can_subset=True,
        )(body)

    return decorate


def of_arms(arms: Iterable[str], *names: str) -> dict[str, list[str]]:
    """Return `ins` for the tables of these names of every arm: parameters `ARM__NAME`."""
    return {f"{arm}__{name}": [arm, name] for arm in arms for name in names}


def by_arm(tables: Mapping[str, pl.DataFrame], name: str) -> dict[str, pl.DataFrame]:
    """Return the tables of this name among those of `of_arms`, by arm."""
    return {key.removesuffix(f"__{name}"): table for key, table in tables.items() if key.endswith(f"__{name}")}


def _inputs(function: Callable[..., Any], ins: Mapping[str, Sequence[str]] | None) -> dict[str, dg.AssetIn]:
    """The tables a function takes; Dagster infers none where `**tables` takes further ones."""
    own = {
        name: [name]
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.annotation is pl.DataFrame and parameter.kind is not parameter.VAR_KEYWORD
    }
    return {name: dg.AssetIn(key=dg.AssetKey(list(key))) for name, key in (own | dict(ins or {})).items()}


def _with_context(function: Callable[..., Made]) -> Callable[..., Made]:
    """The function as it is called, with Dagster's context in front, whether it takes it or not."""
    signature = inspect.signature(function)
    if "context" in signature.parameters:
        return function

    @functools.wraps(function)
    def computed(context: dg.AssetExecutionContext, **inputs: Any) -> Made:
        return function(**inputs)

    # Dagster reads off the signature which parameters are context, resources and inputs.
    context = inspect.Parameter("context", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    computed.__signature__ = signature.replace(parameters=[context, *signature.parameters.values()])  # type: ignore[attr-defined]
    return computed


def ledgers_used(instance: dg.DagsterInstance, keys: Iterable[dg.AssetKey]) -> dict[str, str]:
    """Return, for each ledger among the keys of what an asset depends on, the observation it was made from.

    Returns:
        `NAME used`: version, number and time of the observation, in words.

    Raises:
        InputChanged: The ledger was changed after it was observed, so that the record would point to rows that
            were not read.
    """
    found = {}
    for key in keys:
        name = key.to_user_string()
        if not name.endswith(LEDGER):
            continue
        records = instance.fetch_observations(key, limit=1).records
        observation = records[0].asset_observation if records else None
        if observation is None:
            found[f"{name} used"] = "not observed before this run"
            continue
        observed = data_version(observation) or ""
        file = observation.metadata.get("file")
        path = Path(str(file.value)) if file is not None else None
        if path is None or ledger_digest(read_ledger(path, name.removesuffix(LEDGER))) != observed:
            raise InputChanged(
                f"{path or name}: changed after it was last observed, so this would be on record as made from "
                "other rows than it read. Observe it again (`ccai run` does so first), then materialize."
            )
        when = datetime.fromtimestamp(records[0].timestamp, UTC).isoformat(timespec="seconds")
        found[f"{name} used"] = (
            f"version {observed[:SHORT]}, observation {records[0].storage_id} of {when}, "
            f"Dagster run {records[0].run_id}"
        )
    return found


def publish(table: Table, contract: Contract, key: dg.AssetKey) -> Results:
    """Yield the results of all checks and, if none failed, the table."""
    results = [_contract_result(contract, table.frame, key)] + [_findings_result(each, key) for each in table.checks]
    if any(_stops(result) for result in results):
        yield from _stop(key, results)
    yield dg.MaterializeResult(
        asset_key=key,
        value=table.frame,
        data_version=dg.DataVersion(table.version or table_digest(table.frame)),
        metadata={**table_metadata(table.frame, contract), **_rounded(table.metadata)},
        check_results=results,
    )


def _rounded(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Numbers to four digits, as a person reads them; the tables have all of them."""
    return {name: float(f"{value:.4g}") if isinstance(value, float) else value for name, value in metadata.items()}


def stop(key: dg.AssetKey, refused: Refused) -> Results:
    """Yield the results of the checks that refused, and fail."""
    yield from _stop(key, [_findings_result(each, key) for each in refused.checks])


def _stop(key: dg.AssetKey, results: Sequence[dg.AssetCheckResult]) -> Results:
    """Yield the results of checks of which one failed, and fail."""
    yield from results
    failed = [str(result.metadata["what"].value) for result in results if _stops(result)]
    raise dg.Failure(f"{key.to_user_string()} was not stored: {' '.join(failed)}", allow_retries=False)


def _stops(result: dg.AssetCheckResult) -> bool:
    return not result.passed and result.severity == dg.AssetCheckSeverity.ERROR


def table_metadata(frame: pl.DataFrame, contract: Contract) -> dict[str, Any]:
    """Return row count, column schema with meanings, and a preview, for the user interface."""
    columns = [
        dg.TableColumn(
            name,
            str(field_.dtype),
            field_.meaning,
            dg.TableColumnConstraints(nullable=field_.nullable, unique=contract.key == (name,)),
        )
        for name, field_ in contract.fields.items()
    ]
    return {
        "dagster/row_count": frame.height,
        "dagster/column_schema": dg.TableSchema(columns),
        "preview": dg.MetadataValue.md(markdown_table(frame.head(PREVIEW_ROWS))),
    }


def markdown_table(frame: pl.DataFrame) -> str:
    """Return a table in Markdown; every cell is shown as text, whatever is in it."""
    if not frame.height:
        return "(no rows)"
    lines = ["| " + " | ".join(frame.columns) + " |", "|" + " --- |" * frame.width]
    lines += ["| " + " | ".join(_cell(value) for value in row) + " |" for row in frame.iter_rows()]
    return "\n".join(lines)


def picture(drawn: pictures.Picture | drawings.Drawing) -> dg.MetadataValue:
    """Return a picture as metadata that the user interface shows."""
    if isinstance(drawn, pictures.Picture):
        return dg.MetadataValue.md(pictures.as_markdown("png", drawn.png, drawn.alt))
    image = pictures.as_markdown("svg+xml", drawings.as_svg(drawn).encode(), drawn.alt)
    return dg.MetadataValue.md(f"{image}\n\n{markdown(drawn.alt)}")


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = " ".join(str("" if value is None else value).split())
    return markdown(text if len(text) <= PREVIEW_WIDTH else text[: PREVIEW_WIDTH - 1] + "…")


def _contract_result(contract: Contract, frame: pl.DataFrame, key: dg.AssetKey) -> dg.AssetCheckResult:
    broken = contract.violations(frame)
    what = (
        "keeps its contract"
        if not broken.height
        else (
            f"{broken.height} cells or columns break the contract {contract.name}, first: "
            + ", ".join(f"{name}={value}" for name, value in broken.row(0, named=True).items() if value)
        )
    )
    return dg.AssetCheckResult(
        passed=not broken.height,
        check_name="contract",
        asset_key=key,
        description=printable(what, LONGEST_CHECK),
        metadata={
            "rows": frame.height,
            "violations": broken.height,
            "what": what,
            "examples": dg.MetadataValue.md(markdown_table(broken.head(PREVIEW_ROWS))),
        },
    )


def _findings_result(checked: Checked, key: dg.AssetKey) -> dg.AssetCheckResult:
    errors = [each for each in checked.findings if each.severity == "error"]
    waiting = [each for each in checked.findings if each.severity == "warning"]
    shown = (errors or waiting)[:EXAMPLES]
    what = " ".join(_sentence(each) for each in shown) or "nothing found"
    rows = [
        {"ledger": each.ledger, "decision": each.decision_id, "subject": each.subject, "what": each.message}
        for each in [*errors, *waiting]
    ]
    return dg.AssetCheckResult(
        passed=not errors and not (checked.warns and waiting),
        check_name=checked.name,
        asset_key=key,
        severity=dg.AssetCheckSeverity.WARN if checked.warns and not errors else dg.AssetCheckSeverity.ERROR,
        description=printable(what, LONGEST_CHECK),
        metadata={
            "errors": len(errors),
            "waiting": len(waiting),
            "what": what,
            "findings": dg.MetadataValue.md(markdown_table(pl.DataFrame(rows).head(50))),
        },
    )


def _sentence(finding: Finding) -> str:
    if not finding.ledger:
        return f"{finding.subject}: {finding.message}."
    row = f" row {finding.decision_id}" if finding.decision_id else ""
    subject = f" ({finding.subject})" if finding.subject else ""
    return f"{finding.ledger} ledger{row}{subject}: {finding.message}."


def report_file(home: Home, name: str, text: str) -> Table:
    """Write a file of the report, whole or not at all, and return the table that tells of it."""
    path = home.report / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_file(path, text)
    digest = file_digest(path)
    row = {"path": f"report/{name}", "file_digest": digest, "n_bytes": path.stat().st_size}
    return Table(contracts.FILE.build([row]), {BELOW_HOME: f"{home.consultation}/report/{name}"}, version=digest)
