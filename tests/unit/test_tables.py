"""Tables in their files: only what was recorded is read, and what was refused stops what follows."""

from __future__ import annotations

import io
import math
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from assets.table_asset import Checked, Table, require, table_asset
from ccai_dagster.contracts import IMPORT_REPORT
from ccai_dagster.contracts.schema import Field, contract
from ccai_dagster.core.digest import table_digest
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import SCHEMA_ENTRY, read_table, table_content
from ccai_dagster.core.schema_version import SCHEMA_VERSION, NewerSchema
from ccai_dagster.decisions.checks import Finding
from resources.history import refused_ancestors
from resources.tables import Tables

OLDER = Path(__file__).parent / "older" / "import_report.parquet"
KEYS = [dg.AssetKey(name) for name in ("rows", "rows_again", "rows_at_last")]
PARENTS = dict(zip(KEYS[1:], ([key] for key in KEYS), strict=False)) | {KEYS[0]: [dg.AssetKey("source")]}


def report(count: int) -> pl.DataFrame:
    return IMPORT_REPORT.build([{"item": "votes", "kind": "found", "count": count, "explanation": "in the export"}])


class Chain:
    """Three tables, each made of the one before, the first of a source that a person may spoil."""

    def __init__(self, folder: Path, instance: dg.DagsterInstance) -> None:
        self.instance, self.tables = instance, Tables(url=str(folder))
        self.count, self.faults = 1, 0
        options = {"group": "g", "owner": "team:t", "description": "d", "kinds": set()}

        @table_asset(IMPORT_REPORT, deps=[dg.AssetKey("source")], checks=["faults"], **options)
        def rows() -> Table:
            wrong = [Finding("error", "idea", "I2", "13", "no such statement")] * self.faults
            return Table(report(self.count), checks=require(Checked("faults", wrong)))

        @table_asset(IMPORT_REPORT, ins={"rows": ["rows"]}, **options)
        def rows_again(rows: pl.DataFrame) -> Table:
            return Table(rows)

        @table_asset(IMPORT_REPORT, ins={"rows": ["rows_again"]}, **options)
        def rows_at_last(rows: pl.DataFrame) -> Table:
            return Table(rows)

        self.assets = [dg.AssetSpec("source"), rows, rows_again, rows_at_last]

    def change_source(self, version: str) -> None:
        seen = dg.AssetObservation("source", tags={"dagster/data_version": version})
        self.instance.report_runless_asset_event(seen)

    def make(self, *names: str) -> str | None:
        """Materialize; return what stopped it, if anything did."""
        result = dg.materialize(
            self.assets,
            selection=list(names),
            instance=self.instance,
            resources={"tables": self.tables},
            raise_on_error=False,
        )
        failed = [each.step_failure_data for each in result.get_step_failure_events()]
        return str(failed[0].user_failure_data.description) if failed else None

    def path(self, name: str) -> Path:
        return Path(str(self.tables.path(dg.AssetKey(name))))

    def keeps(self, name: str) -> bool:
        event = self.instance.get_latest_materialization_event(dg.AssetKey(name))
        assert event is not None and event.asset_materialization is not None
        return self.tables.keeps(event.asset_materialization)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with dg.DagsterInstance.ephemeral() as instance:
        made = Chain(tmp_path / "tables", instance)
        made.change_source("first")
        assert made.make("rows", "rows_again", "rows_at_last") is None
        yield made


REMEDY = "`ccai run` makes rows again if need be, and `ccai run --select 'key:\"rows\"'` in any case."


def test_a_table_of_other_content_is_not_read_and_counts_as_gone(chain: Chain) -> None:
    path = chain.path("rows")
    assert chain.keeps("rows")
    report(2).write_parquet(path)
    assert chain.make("rows_again") == f"{path} was changed or damaged since it was made. {REMEDY}"
    assert not chain.keeps("rows")
    assert chain.make("rows") is None and chain.make("rows_again") is None
    assert chain.keeps("rows") and pl.read_parquet(path).equals(report(1))


def test_one_byte_is_noticed_even_if_size_and_time_are_as_before(chain: Chain) -> None:
    path, before = chain.path("rows"), chain.path("rows").stat()
    assert chain.keeps("rows")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not chain.keeps("rows")
    assert chain.make("rows_again") == f"{path} was changed or damaged since it was made. {REMEDY}"


def test_a_file_that_only_was_moved_away_and_back_is_the_same(chain: Chain, tmp_path: Path) -> None:
    shutil.copyfile(chain.path("rows"), tmp_path / "copy")
    chain.path("rows").unlink()
    assert not chain.keeps("rows")
    assert chain.make("rows_again") == f"{chain.path('rows')} is not there. {REMEDY}"
    shutil.copyfile(tmp_path / "copy", chain.path("rows"))
    assert chain.keeps("rows") and chain.make("rows_again") is None


def test_what_follows_a_refused_table_stops_until_it_is_mended(chain: Chain) -> None:
    chain.change_source("second")
    chain.faults = 1
    why = "idea ledger row I2 (13): no such statement."
    assert chain.make("rows") == f"rows was not stored: {why}"
    told = (
        f"rows was refused when it was last to be made, and what is there is of before: {why} Mend that first. {REMEDY}"
    )
    assert chain.make("rows_again") == told
    assert refused_ancestors([KEYS[2]], PARENTS, chain.instance) == [told]
    assert refused_ancestors(KEYS, PARENTS, chain.instance) == []
    chain.faults = 0
    assert chain.make("rows") is None and chain.make("rows_again") is None
    assert refused_ancestors([KEYS[2]], PARENTS, chain.instance) == []


def test_a_refusal_is_void_once_everything_is_as_it_was(chain: Chain) -> None:
    chain.change_source("second")
    chain.faults = 1
    assert chain.make("rows") is not None
    chain.change_source("first")
    assert chain.make("rows_again") is None


def older(tmp_path: Path, instance: dg.DagsterInstance) -> tuple[Chain, Path]:
    """A table that was made before the bytes of its file were on record."""
    chain = Chain(tmp_path / "tables", instance)
    chain.path("rows").parent.mkdir()
    shutil.copyfile(OLDER, chain.path("rows"))
    version = "d26808f00472b7a517c25e17cfa65a6ab007b248b55d5a370caec069d22f132f"
    instance.report_runless_asset_event(dg.AssetMaterialization("rows", tags={"dagster/data_version": version}))
    return chain, chain.path("rows")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_not_finite_breaks_its_contract_and_has_no_digest(value: float) -> None:
    kept = contract(
        "kept",
        ("person",),
        person=Field(pl.String, "a name"),
        score=Field(pl.Float64, "a number, or none", nullable=True),
        shares=Field(pl.List(pl.Float64), "some numbers"),
    )
    missing = kept.build([{"person": "a", "score": None, "shares": [0.5, None]}])
    assert kept.violations(missing).is_empty() and table_digest(missing)
    for column, wrong in (("score", value), ("shares", [0.5, value])):
        table = kept.build([{"person": "a", "score": 0.0, "shares": []} | {column: wrong}])
        assert kept.violations(table).select("column", "check").rows() == [(column, "finite")]
        with pytest.raises(ConsultationError, match=f"`{column}` holds a number that is not finite"):
            table_digest(table)


@pytest.mark.parametrize("rows", [[("a", 1), ("a", 2), ("b", 1)], [("b", 1), ("a", 2), ("a", 1)]])
def test_a_key_that_stands_twice_breaks_its_contract_in_whatever_order(rows: list[tuple[str, int]]) -> None:
    votes = contract("votes", ("who", "what"), who=Field(pl.String, "a name"), what=Field(pl.Int64, "a number"))

    def violated(*given: tuple[str, int]) -> pl.DataFrame:
        return votes.violations(pl.DataFrame(list(given), votes.dtypes, orient="row"))

    assert violated(*rows).is_empty() and violated().is_empty() and violated(rows[0]).is_empty()
    for place in range(4):
        found = violated(*rows[:place], rows[1], *rows[place:])
        assert found.height == 2 and set(found["check"]) == {"unique"}


def test_the_digest_of_a_table_is_the_same_in_one_piece_and_in_many(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pl.DataFrame({"who": ["a", "b", "c"], "share": [0.5, None, 1.0], "of": [[1], [], [2, 3]]})
    whole = table_digest(table)
    monkeypatch.setattr("ccai_dagster.core.digest.AT_ONCE", 2)
    assert table_digest(table) == whole != table_digest(table.reverse())


def test_an_older_table_is_read_and_known_by_its_content(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        chain, path = older(tmp_path, instance)
        assert chain.keeps("rows") and chain.make("rows_again") is None
        assert pl.read_parquet(chain.path("rows_again")).item(0, "count") == 12
        report(11).write_parquet(path)
        assert not chain.keeps("rows")
        assert chain.make("rows_again") == f"{path} was changed or damaged since it was made. {REMEDY}"


def test_an_older_table_that_is_damaged_is_told_by_its_file_and_the_remedy(tmp_path: Path) -> None:
    with dg.DagsterInstance.ephemeral() as instance:
        chain, path = older(tmp_path, instance)
        path.write_bytes(path.read_bytes()[:900])
        assert not chain.keeps("rows")
        told = chain.make("rows_again")
        assert told is not None and told.startswith(f"{path}: not readable as a table (")
        assert told.endswith("`ccai run` makes it again.")


def test_the_form_is_no_part_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    path.write_bytes(table_content(report(1)))
    assert pl.read_parquet_metadata(path)[SCHEMA_ENTRY] == str(SCHEMA_VERSION)
    table = read_table(path)
    assert table is not None and table_digest(table) == table_digest(report(1))


def test_a_table_of_a_later_form_is_refused(tmp_path: Path) -> None:
    content = io.BytesIO()
    report(1).write_parquet(content, metadata={SCHEMA_ENTRY: str(SCHEMA_VERSION + 1)})
    path = tmp_path / "t.parquet"
    path.write_bytes(content.getvalue())
    with pytest.raises(NewerSchema, match=rf"t\.parquet: written in form {SCHEMA_VERSION + 1} by a later version"):
        read_table(path)
