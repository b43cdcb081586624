"""A plain table of votes, from whatever platform: one row a vote, as CSV, Parquet or JSON.

`votes` has the columns `participant`, `statement`, `vote` and, if known, `time` and `important` (1 or 0). Beside it a
table `statements` may give `statement`, `text` and, if known, `author`, `moderated` (1 in, -1 out, 0 nobody decided),
`time`, and totals of agreeing and disagreeing votes. `NAMES` has what other programs call these columns.

Ids that are not whole numbers get numbers (`numbering`), so that no code of a person leaves the file.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from ccai_dagster.contracts import RAW_STATEMENTS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.text import printable
from ccai_dagster.deliberation.importing.cells import (
    Unit,
    as_time,
    marks,
    milliseconds,
    optional_integers,
    own_times,
    refuse_lost_digits,
)
from ccai_dagster.deliberation.importing.columns import (
    ROW,
    SourceFile,
    VoteFiles,
    plain_name,
    read_header,
    read_json,
    read_text_csv,
    refuse_twice,
)
from ccai_dagster.deliberation.importing.moderation_mode import moderation_evidence
from ccai_dagster.deliberation.importing.noted import Fact, Noted, shortened
from ccai_dagster.deliberation.importing.numbering import Numbering, numbered
from ccai_dagster.deliberation.importing.polis_report import (
    WORDED,
    ExchangedTotals,
    compare_totals,
    exchanged_totals,
    sign_fact,
)
from ccai_dagster.deliberation.importing.tables import (
    AuthorVotes,
    Import,
    author_votes,
    build_report,
    common_facts,
    importance_marks,
    last_votes,
    moderation_marks,
    raw_participants,
    require_unique,
    usable_votes,
)
from ccai_dagster.deliberation.importing.vote_values import check_coding, how_to_say, vote_column

MAIL = ("email", "e-mail", "email-address", "e-mail-address", "mail")
"""Names of a column that tells people from each other in a table of votes where no other does."""
_ELSEWHERE = {
    "participant": "teilnehmer teilnehmerin teilnehmende teilnehmer-id participante partecipante votant votante "
    "répondant deelnemer deltager deltagare osallistuja uczestnik účastník katılımcı участник учасник "
    "參與者 参与者 參加者 参加者 投票者 참가자 المشارك",
    "statement": "aussage these énoncé enonce affirmation proposition declaración declaracion afirmación afirmacion "
    "enunciado propuesta affermazione proposta afirmação afirmacao stelling uitspraak udsagn påstand påstående väite "
    "stwierdzenie výrok ifade утверждение твердження 陳述 陈述 意見 意见 발언 의견 العبارة",
    "vote": "stimme votum antwort voto avis réponse reponse respuesta risposta resposta stem stemme röst svar ääni "
    "głos hlas oy голос ответ відповідь 投票 表態 表态 투표 التصويت",
    "time": "zeit zeitpunkt datum heure fecha hora data tijd tidspunkt aika czas čas zaman время дата час "
    "時間 时间 시간",
    "text": "texte texto testo tekst wortlaut inhalt contenu contenido contenuto conteúdo teksti текст "
    "文字 內容 内容 본문 النص",
    "author": "autor autorin auteur autrice autore verfasser forfatter författare автор 作者",
}
"""Names of columns in other languages than English, in their plain form."""
NAMES = {
    role: tuple(
        [
            *names.split(),
            *_ELSEWHERE.get(role, "").split(),
            *(_ELSEWHERE["statement"].split() if role == "text" else ()),
        ]
    )
    for role, names in {
        "participant": "participant participant-id voter-id voter user-id user person-id person respondent-id "
        "respondent pid username user-name",
        "statement": "statement-id statement comment-id opinion-id proposal-id question-id item-id comment opinion "
        "proposal question item tid",
        "vote": "vote vote-value voted choice response rating value answer",
        "time": "time timestamp voted-at created-at created modified date",
        "important": "important high-priority importance",
        "text": "text statement-text comment-text opinion-text comment-body statement-body txt body content statement",
        "author": "author author-id participant-id participant user-id pid",
        "moderated": "moderated mod moderation",
        "agrees": "agrees agree-count n-agree",
        "disagrees": "disagrees disagree-count n-disagree",
        "is-seed": "is-seed",
        "is-meta": "is-meta",
    }.items()
}
"""What each column may be called, in the order in which a name is taken where a table has several."""
VOTE_COLUMNS = ("participant", "statement", "vote", "time", "important")
STATEMENT_COLUMNS = ("statement", "text", "author", "moderated", "time", "agrees", "disagrees", "is-seed", "is-meta")
API_NAMES = {"pid", "tid", "vote"}
"""Columns of Polis's own votes.json, in which -1 agrees; other programs write the same columns with the sign turned."""


@dataclass(frozen=True)
class PlainTable:
    """A table of a person's with its columns under their plain names.

    Attributes:
        table: Text, the times aside if the file has a type for them; with `ROW` and `timestamp` (milliseconds).
        columns: What each column that is read is called in the file.
        unread: Plain names of the other columns.
        unit: Of the times.
    """

    file: SourceFile
    table: pl.DataFrame
    columns: Mapping[str, str]
    unread: Sequence[str]
    unit: Unit | None


def import_long_table(found: VoteFiles, values: Mapping[str, str]) -> Import:
    """Read and check a table of votes and, if there is one, the table of statements beside it.

    Args:
        found: The files `votes` and perhaps `statements`.
        values: What votes mean, see `vote_values`; empty for numbers and words that mean what they say.

    Raises:
        ConsultationError: A column is missing, a statement twice, or too many rows cannot be used. Names file, row and
            remedy.
    """
    noted = Noted()
    source, listing = found.files["votes"], found.files.get("statements")
    cast = read_plain_table(source, VOTE_COLUMNS, noted)
    known = read_plain_table(listing, STATEMENT_COLUMNS, noted) if listing is not None else _inline(source, noted)
    votes_read = vote_column(cast.table["vote"], values)
    people = numbered(cast.table, "participant", votes_read.cast)
    numbers = numbered((known or cast).table, "statement")
    if known is not None:
        require_unique(known.file, known.table, "statement")
    cells = cast.table.select(row=ROW, participant_id="participant", statement_id="statement", vote="vote")
    known_number = numbers.of(cells["statement_id"])
    rows = cells.select(
        "row",
        participant_id=people.of(cells["participant_id"]),
        # A statement that the table of statements lacks has no number, and is told from one that cannot be read.
        statement_id=known_number.fill_null(-1).set(cells["statement_id"].is_null(), None),
        vote=votes_read.votes,
        timestamp=own_times(source, noted, cast.table["timestamp"]),
        empty=votes_read.empty,
        important=importance_marks(source, cast.table, noted),
    )
    statements = statements_of(known, numbers, people, noted)
    rows = usable_votes(source, rows, cells, statements["statement_id"], noted)
    check_coding(source, rows["vote"], values)
    authors, exchanged = author_votes(rows, statements), ExchangedTotals(0, 0)
    votes = last_votes(rows)
    if authors.inverted is None and known is not None:
        exchanged = exchanged_totals(_totals(known, numbers, noted), rows, votes.table)
    if not votes_read.worded:
        _refuse_unknown_sign(cast, authors, exchanged, known, numbers, rows, votes.table, noted)
        if authors.inverted or exchanged.clear:
            votes = last_votes(rows.with_columns(-pl.col("vote")))
    participants = raw_participants(votes.table)
    sign = WORDED if votes_read.worded else sign_fact(authors, exchanged, False)
    report = build_report(
        [
            *_facts(cast, known, sign, people, numbers),
            *([moderation_evidence(statements, votes.table).fact()] if known and "moderated" in known.columns else []),
            *_unread([cast, *([known] if known else [])], found.others),
            *common_facts(statements, participants, votes, rows.height, source.name),
            *noted.facts(),
        ]
    )
    return Import(statements, participants, votes.table, report)


def named_columns(names: Collection[str], roles: Sequence[str]) -> dict[str, str]:
    """Return by role the first of its names that is there and taken by no role before it.

    A table of statements may call their ids `id`, beside `statement` or another name of the text. In a table of votes
    that would be the number of a row.
    """
    there = frozenset(names)  # a matrix has a column for each statement
    found = _named(there, roles, {})
    if "vote" not in roles and "id" in there and not {"statement", "text"} <= found.keys():
        return _named(there, roles, {"statement": "id"})
    return found


def _named(names: frozenset[str], roles: Sequence[str], given: Mapping[str, str]) -> dict[str, str]:
    found = dict(given)
    for role in roles:
        known = (*NAMES[role], *MAIL) if role == "participant" else NAMES[role]
        free = [name for name in known if name in names and name not in found.values()]
        if free:
            found.setdefault(role, free[0])
    return found


def names_of(file: SourceFile) -> list[str]:
    """Return the plain names of a table's columns.

    Raises:
        ConsultationError: Not readable.
    """
    if file.ending == "parquet":
        return [plain_name(each, {}) for each in _parquet(file).columns]
    if file.ending == "json":
        return [name for name in read_json(file, Noted()).columns if name != ROW]
    return read_header(file).named


def is_long_table(names: Collection[str]) -> bool:
    """Whether columns are those of a plain table of votes rather than those of Polis."""
    return set(named_columns(names, VOTE_COLUMNS)) >= set(VOTE_COLUMNS[:3])


def is_statement_table(names: Collection[str]) -> bool:
    """Whether columns are those of a table of statements."""
    return set(named_columns(names, STATEMENT_COLUMNS)) >= set(STATEMENT_COLUMNS[:2])


def read_plain_table(file: SourceFile, roles: Sequence[str], noted: Noted) -> PlainTable:
    """Read the columns of a table that have one of the names of these roles.

    Raises:
        ConsultationError: Not readable, or a column that a table of votes or of statements must have is missing.
    """
    names = names_of(file)
    columns = named_columns(names, roles)
    needed = roles[:3] if "vote" in roles else roles[:2]
    if missing := [role for role in needed if role not in columns]:
        raise ConsultationError(
            f"{file.place}: missing column(s) {', '.join(missing)}; found {', '.join(names[:12])}. "
            f"{missing[0].capitalize()} may be called {', '.join(NAMES[missing[0]])}."
        )
    wanted = set(columns.values())
    if file.ending == "parquet":
        table = _parquet(file)
        table.columns = [plain_name(each, {}) for each in table.columns]
        refuse_twice(file.place, table.columns)
        table = table.select(
            pl.col(name) if name == columns.get("time") else pl.col(name).cast(pl.String, strict=False)
            for name in columns.values()
        ).with_row_index(ROW, offset=1)
    elif file.ending == "json":
        table = read_json(file, noted).select(ROW, *columns.values())
    else:
        table = read_text_csv(file, noted, wanted=lambda name: name in wanted)
    table = table.select(ROW, **{role: pl.col(name) for role, name in columns.items()})
    ids = [role for role in ("participant", "statement") if role in needed]
    table = table.with_columns(pl.col(ids).str.strip_chars().replace(["", "NA", "NaN", "NULL"], None))
    refuse_lost_digits(file, table, [*ids, *(["author"] if "author" in columns else [])])
    times, unit = milliseconds(file, table, noted, "time")
    unread = [name for name in names if name not in wanted]
    return PlainTable(file, table.with_columns(timestamp=times), columns, unread, unit)


def _parquet(file: SourceFile) -> pl.DataFrame:
    try:
        return pl.read_parquet(file.content)
    except (pl.exceptions.PolarsError, OSError) as error:
        first = printable(str(error).strip().splitlines()[0])
        raise ConsultationError(f"{file.place}: not readable as Parquet ({first}). Write it again.") from error


def _inline(source: SourceFile, noted: Noted) -> PlainTable | None:
    """The statements of a table of votes that holds their texts too, each once."""
    roles = [*VOTE_COLUMNS, "text"]
    if "text" not in named_columns(names_of(source), roles):
        return None
    read = read_plain_table(source, roles, noted)
    table = read.table.drop_nulls("statement").unique("statement", keep="first", maintain_order=True)
    return PlainTable(source, table.select(ROW, "statement", "text", "timestamp"), {}, (), None)


def _refuse_unknown_sign(
    cast: PlainTable,
    authors: AuthorVotes,
    exchanged: ExchangedTotals,
    known: PlainTable | None,
    numbers: Numbering,
    rows: pl.DataFrame,
    votes: pl.DataFrame,
    noted: Noted,
) -> None:
    """Refuse the columns of Polis's votes.json if neither authors nor totals tell which sign agrees."""
    if not set(cast.columns.values()) >= API_NAMES or authors.inverted is not None or exchanged.clear:
        return
    if known is not None and {"agrees", "disagrees"} <= set(known.columns):
        compared = compare_totals(_totals(known, numbers, noted), rows, votes)
        if not compared.unexplained:
            return
    raise ConsultationError(
        f"{cast.file.place}: columns pid, tid and vote, as Polis's votes.json has them, where -1 agrees; other "
        "programs write them with +1, and neither authors nor totals of a comments.json beside it tell which. "
        + how_to_say('"-1": agree, "1": disagree, "0": pass')
    )


def _totals(known: PlainTable, numbers: Numbering, noted: Noted) -> pl.DataFrame:
    """The totals that a table of statements states."""
    totals = {name: optional_integers(known.file, known.table, name, noted) for name in ("agrees", "disagrees")}
    return pl.DataFrame({"statement_id": numbers.of(known.table["statement"]), **totals})


def _are_texts(numbers: Numbering) -> bool:
    """Whether ids are texts: most have a space in them, or letters of a script that goes without."""
    odd = numbers.table["code"].str.contains(r"\s|[^\x00-\x{24F}]")
    return not numbers.given and 2 * int(odd.sum()) > odd.len()


def statements_of(known: PlainTable | None, numbers: Numbering, people: Numbering, noted: Noted) -> pl.DataFrame:
    """Return the table `raw_statements` of a table of statements.

    Without one, statements have no texts, unless texts stand in place of ids.
    """
    if known is None:
        bare = numbers.table.select(
            statement_id="number",
            author_id=None,
            created_at=None,
            moderated=0,
            is_seed=None,
            is_meta=None,
            text=pl.col("code") if _are_texts(numbers) else pl.lit(""),
        )
        return bare.select(list(RAW_STATEMENTS.fields)).cast(pl.Schema(RAW_STATEMENTS.dtypes)).sort("statement_id")
    table = known.table
    nameless = table["statement"].null_count()
    if nameless:
        noted.note("unknown", "statements without an id", "set aside", known.file.name, nameless)
    if people.given:
        authors: pl.Series | None = optional_integers(known.file, table, "author", noted)
    else:
        # An author who never voted is no participant, and has a number only if ids are numbers.
        authors = people.of(table["author"].str.strip_chars()) if "author" in table.columns else None
    statements = pl.DataFrame(
        {
            "statement_id": numbers.of(table["statement"]),
            "author_id": authors,
            "created_at": as_time(table["timestamp"]),
            "moderated": moderation_marks(known.file, table, noted),
            "is_seed": marks(known.file, table, "is-seed", noted),
            "is_meta": marks(known.file, table, "is-meta", noted),
            "text": table["text"].fill_null(""),
        },
        schema_overrides={"author_id": pl.Int64},
    ).drop_nulls("statement_id")
    return statements.select(list(RAW_STATEMENTS.fields)).cast(pl.Schema(RAW_STATEMENTS.dtypes)).sort("statement_id")


def _facts(cast: PlainTable, known: PlainTable | None, sign: Fact, people: Numbering, numbers: Numbering) -> list[Fact]:
    written = f"times in {cast.unit}" if cast.unit else "no times"
    facts = [Fact("found", "form", None, f"a plain table of votes, {cast.file.name}: {written}"), sign]
    numberings = {"participant ids": people, "statement ids": numbers}
    facts += [fact for item, numbering in numberings.items() if (fact := numbering.fact(item))]
    if known is None:
        why = "there is no table `statements` beside the votes, so neither texts nor moderation are known"
        if _are_texts(numbers):
            why = (
                "there is no table `statements` beside the votes; texts stand where ids would, moderation is not known"
            )
        facts.append(Fact("unknown", "statements.csv missing", None, why))
    return facts


def _unread(tables: Sequence[PlainTable], others: Sequence[str]) -> list[Fact]:
    unread = [f"{each.file.name}: {name}" for each in tables for name in sorted(each.unread)]
    facts = [Fact("found", "unknown columns", len(unread), f"not read: {shortened(unread)}")] if unread else []
    if others:
        facts.append(Fact("found", "other files", len(others), f"not read: {shortened(others)}"))
    return facts
