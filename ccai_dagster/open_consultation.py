"""A consultation opened for somebody who decides: its ledgers, statements, and the tables of the last run.

Texts, and with them the digests that decisions are taken on, are read from the export and the ledgers, so they
are right before and between runs. Figures (groups, consensus, selection, constitutions) are those of the last
run and may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from ccai_dagster.audit.manifest import CONSULTATION, TABLES, Manifest, describe_file, is_fresh, last_manifest
from ccai_dagster.constitution.principles import constitution_digest, read_constitution
from ccai_dagster.consultation.folder import (
    EXPORT,
    LEDGERS,
    PORTAL,
    Consultation,
    chosen_consultation,
    home_of,
    is_address,
    is_live,
    without_password,
)
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.files import parsed_table, read_table
from ccai_dagster.core.home import Home, place
from ccai_dagster.decisions import checks
from ccai_dagster.decisions.agenda import (
    NEAR_DUPLICATE,
    AgendaItem,
    Basis,
    Proposal,
    SameWords,
    agenda,
    odd_participants,
)
from ccai_dagster.decisions.checks import Finding, refusal, texts_by_subject, texts_digest
from ccai_dagster.decisions.exported_moderation import Difference, contradicted_mode, differences
from ccai_dagster.decisions.independent_decisions import Subject
from ccai_dagster.decisions.ledger import current, ledger_digest, read_ledger
from ccai_dagster.decisions.origins import ODD_VOTES, SAME_MEANING, SAME_WORDS
from ccai_dagster.decisions.outcomes import (
    Wording,
    WordingSource,
    decided_rows,
    merges,
    moderation_verdicts,
    wording_of,
    wording_source,
)
from ccai_dagster.decisions.values import VALUES, policy_subjects
from ccai_dagster.deliberation.importing.comparison import doubts
from ccai_dagster.deliberation.importing.moderation_mode import stated_mode
from ccai_dagster.deliberation.importing.portal import portal_import
from ccai_dagster.deliberation.importing.read_votes import export_digest, find_vote_files, read_votes
from ccai_dagster.deliberation.importing.tables import IMPORTED, Import, import_of
from ccai_dagster.deliberation.topics import near_duplicates
from ccai_dagster.deliberation.votes import ModerationVerdict, clean_statements

T = TypeVar("T")


@dataclass(frozen=True)
class DoubtfulExport:
    """An export that may not be whole: its version, and why."""

    version: str
    doubts: Sequence[str]


def open_consultation(folder: Path | None, kind: str | None = None, as_imported: bool = False) -> OpenConsultation:
    """Open a consultation; by default that of `CCAI_CONSULTATION`, else the sample.

    Args:
        as_imported: See `OpenConsultation`.

    Raises:
        ConsultationError: There is no ledger of this kind, or the consultation cannot be read.
    """
    if kind is not None and kind not in LEDGERS:
        raise ConsultationError(f"There is no ledger {kind!r}; there are {', '.join(LEDGERS)}.")
    chosen = chosen_consultation(folder)
    return OpenConsultation(chosen, home_of(chosen), as_imported)


class OpenConsultation:
    """One consultation, as it is now and as the last run left it.

    Args:
        as_imported: Take an export that has not changed since the last run from the tables of that run, which is much
            faster; for who records nothing, since a newer version of this program may read the export otherwise.
    """

    def __init__(self, consultation: Consultation, home: Home, as_imported: bool = False) -> None:
        self.consultation = consultation
        self.home = home
        self._as_imported = as_imported
        self._tables = place(home.tables_url)
        self._followed: dict[str, tuple[pl.DataFrame, Any]] = {}
        self._last_reached: tuple[bytes, pl.DataFrame, pl.DataFrame] | None = None

    @cached_property
    def manifest(self) -> Manifest | None:
        """What the last run left on record; None before any, or if it was changed since."""
        return last_manifest(self.home.manifest)

    def ledger(self, kind: str) -> pl.DataFrame:
        """Read a ledger as it is now; the same object as long as the file says the same."""
        return read_ledger(self.consultation.ledger(kind), kind)

    def _from_ledger(self, kind: str, name: str, make: Callable[[pl.DataFrame], T]) -> T:
        """Return what follows from a ledger and the export, made again only when the ledger has changed."""
        ledger = self.ledger(kind)
        if name not in self._followed or self._followed[name][0] is not ledger:
            self._followed[name] = ledger, make(ledger)
        made: T = self._followed[name][1]
        return made

    @cached_property
    def statement_names(self) -> frozenset[str]:
        """Ids of all statements of the export, as ledgers write them."""
        return frozenset(map(str, self.imported.raw_statements["statement_id"]))

    @cached_property
    def participant_names(self) -> frozenset[str]:
        """Ids of all participants of the export, as ledgers write them."""
        return frozenset(map(str, self.imported.raw_participants["participant_id"]))

    def taken(self, kind: str) -> set[str]:
        """Return the ids of the decisions in all other ledgers, and of those that once stood in this one."""
        others = {each for other in LEDGERS if other != kind for each in self.ledger(other)["decision_id"]}
        if self.manifest is None:
            return others
        return others | self.manifest.rows.get(kind, {}).keys() | self.manifest.amended_rows.get(kind, {}).keys()

    @cached_property
    def imported(self) -> Import:
        """The export; the portal as it is now; where the votes are at an address, what the last run read from there.

        Raises:
            ConsultationError: The export cannot be read, or nothing was read from the address yet.
        """
        votes = self.consultation.votes
        if votes == PORTAL:
            return portal_import(self.home.portal)
        if not is_address(votes):
            kept = import_of({name: self.fresh_table(name) for name in IMPORTED}) if self._as_imported else None
            return kept or read_votes(Path(votes), self.consultation.file.vote_values)
        if self.last_import is None:
            raise ConsultationError(f"{without_password(votes)}: not read yet; `ccai run` first.")
        return self.last_import

    @cached_property
    def last_import(self) -> Import | None:
        """What the last run imported, or None if it is not all there."""
        return import_of({name: self.table(name) for name in IMPORTED})

    @cached_property
    def doubtful(self) -> DoubtfulExport | None:
        """The export as it was last observed, if it may not be whole; None as well if it was not observed yet."""
        votes = self.consultation.votes
        if is_live(votes):
            observed = self._observed_version()
            if observed is None or not (place := self.home.downloads / observed).is_dir():
                return None
            now = read_votes(place, self.consultation.file.vote_values)
        else:
            place, now = Path(votes), self.imported
        found = doubts(self.last_import, now)
        return DoubtfulExport(find_vote_files(place).digest(), found) if found else None

    def _export_digest(self) -> str | None:
        """What a sign-off of the export would be for; None if nothing speaks against it."""
        return self.doubtful.version if self.doubtful else None

    def _observed_version(self) -> str | None:
        """The version of the export that is last on record."""
        observed = self.manifest.sources.get(EXPORT) if self.manifest else None
        return observed.data_version if observed else None

    def statements(self) -> pl.DataFrame:
        """Return the statements that are in, by the moderation ledger as it is now."""
        lenient = self.consultation.file.moderation == "lenient"
        return self._from_ledger(
            "moderation",
            "statements",
            lambda _: clean_statements(self.imported.raw_statements, self._moderated(), lenient),
        )

    def _moderated(self) -> dict[int, ModerationVerdict]:
        return self._from_ledger("moderation", "verdicts", moderation_verdicts)

    def table(self, *key: str) -> pl.DataFrame | None:
        """Return a table of the last run, or None if it was not made yet.

        Raises:
            ConsultationError: The file is damaged.
        """
        return read_table(self._tables.joinpath(*key[:-1], f"{key[-1]}.parquet"))

    def fresh_table(self, name: str) -> pl.DataFrame | None:
        """Return a table of the last run if settings, ledgers and files of votes are still what it was made of.

        None as well if the votes are no files, or the table is not, to the byte, the one on record.
        """
        settings, table = self.consultation.folder / "consultation.yaml", self._tables / f"{name}.parquet"
        if self.manifest is None or not table.is_file():
            return None
        recorded = self.manifest.files
        stands = (
            describe_file(settings) == recorded.get(f"{CONSULTATION}/{settings.name}")
            and describe_file(table) == recorded.get(f"{TABLES}/{table.name}")
            and is_fresh(self.manifest, name, cache(self._version_now))
        )
        return self.table(name) if stands else None

    def _version_now(self, source: str) -> str | None:
        """The version of a ledger or of files of votes; None of anything else."""
        if source == EXPORT:
            votes = self.consultation.votes
            return None if is_live(votes) else export_digest(Path(votes))
        kind = source.removesuffix("_ledger")
        return ledger_digest(self.ledger(kind)) if kind in LEDGERS else None

    @cached_property
    def topics(self) -> pl.DataFrame | None:
        """What statements are about, as the last run found; None if it asked no sentence model."""
        return self.table("statement_topics") if self.consultation.file.sentence_model else None

    def _by_topic(self, statement_ids: Iterable[int]) -> list[int]:
        """Statements by topic, the largest first, and by id; those without one come last."""
        topics = {} if self.topics is None else dict(self.topics.select("statement_id", "topic_id").iter_rows())
        return sorted(statement_ids, key=lambda key: (topics.get(key, len(topics)), key))

    def selected(self) -> list[int] | None:
        """Return the statements that reached the cut in the last run and are still in, by rank.

        None before any run.
        """
        reached = self._reached()
        return None if reached is None else reached["statement_id"].to_list()

    def rejected(self) -> set[int]:
        """Return those of the selected statements that every group rejects."""
        reached = self._reached()
        if reached is None or "side" not in reached.columns:  # of a run before there were sides
            return set()
        return set(reached.filter(side="disagree")["statement_id"])

    def _reached(self) -> pl.DataFrame | None:
        file = self._tables / "selected_statements.parquet"
        try:
            content = file.read_bytes()
        except FileNotFoundError:
            return None
        statements, last = self.statements(), self._last_reached
        if last is None or last[0] != content or last[1] is not statements:
            table = parsed_table(content, file).filter("selected")
            reached = table.join(statements, on="statement_id", how="semi").sort("rank")
            last = self._last_reached = content, statements, reached
        return last[2]

    def constitution(self, arm: str) -> pl.DataFrame | None:
        """Return an arm's constitution: of its file, or of the last run; None as long as it has no principle."""
        source = self.consultation.arms[arm].constitution
        if source != "ledgers":
            return read_constitution(self.consultation.path(source), arm)
        made = self.table(arm, "constitution")
        return None if made is None or made.is_empty() else made

    def basis(self, kind: str) -> Basis:
        """Return a function that gives the digest of what a decision would be taken on now."""
        if kind == "moderation":
            return lambda subjects: self._raw_digest(tuple(subjects))
        if kind in ("merge", "idea"):
            texts = self._from_ledger("moderation", "texts", lambda _: texts_by_subject(self.statements()))
            return lambda subjects: texts_digest(subjects, texts)
        if kind == "wording":
            sources = self.wording_sources()
            return lambda subjects: source.digest if (source := sources(subjects)) else None
        if kind == "signoff":
            made = {arm: self.constitution(arm) for arm in self.consultation.arms}
            digests = {arm: constitution_digest(each) for arm, each in made.items() if each is not None}
            return lambda subjects: self._export_digest() if subjects[0] == EXPORT else digests.get(subjects[0])
        return lambda subjects: None

    @cached_property
    def _raw_texts(self) -> dict[str, str]:
        return texts_by_subject(self.imported.raw_statements)

    @cached_property
    def _raw_digest(self) -> Callable[[Subject], str | None]:
        """The digest of the texts of statements as they came in, found once for each."""
        return cache(lambda subjects: texts_digest(subjects, self._raw_texts))

    def wording_sources(self) -> Callable[[Sequence[str]], WordingSource | None]:
        """Return a function that gives the text that statements would be worded from; None if there is none."""
        texts = dict(self.statements().select("statement_id", "text").iter_rows())
        merged = merges(self.ledger("merge"))

        def source(subjects: Sequence[str]) -> WordingSource | None:
            try:
                ids = tuple(int(each) for each in subjects)
                return wording_source(Wording("", "", ids, None, None), merged, texts)
            except (ValueError, ConsultationError):
                return None

        return source

    def agenda(self, kind: str) -> list[AgendaItem]:
        """Return what is decided and what is to be decided in one ledger."""
        wanted, basis = self._wanted(kind), self.basis(kind)
        otherwise: set[Subject] = set()
        if kind == "moderation":
            otherwise = {(str(each.statement_id),) for each in self.moderated_otherwise() if not each.by_person}
        return agenda(kind, self.ledger(kind), wanted, basis, policy_subjects(kind), otherwise)

    def lapsed(self, kind: str) -> list[str]:
        """Return the ids of the decisions of one ledger that were taken on something else than there is now, sorted."""
        items = agenda(kind, self.ledger(kind), (), self.basis(kind))
        return sorted({row["decision_id"] for item in items if item.state == "lapsed" for row in item.rows})

    def moderated_otherwise(self) -> list[Difference]:
        """Return where the export says otherwise than the moderation ledger, both as they are now."""
        return self._from_ledger(
            "moderation", "differences", lambda ledger: differences(ledger, self.imported.raw_statements)
        )

    def contradicted_mode(self) -> str | None:
        """Say that the export tells another mode of moderation than the one that is set; else None."""
        raw, votes = self.imported.raw_statements, self.imported.raw_votes
        stated, mode = stated_mode(self.imported.import_report), self.consultation.file.moderation
        return contradicted_mode(self.ledger("moderation"), raw, votes, mode, stated)

    def _wanted(self, kind: str) -> list[Proposal]:
        if kind == "moderation":
            return [_proposal(str(each)) for each in self._by_topic(int(key) for key in self._raw_texts)]
        if kind == "exclusion":
            votes = self.imported.raw_votes
            found = odd_participants(votes)
            return [Proposal((each,), why, ODD_VOTES) for people, why in found for each in people]
        if kind == "merge":
            return self._near_duplicates()
        if kind == "idea":
            return [_proposal(str(each)) for each in self._needing_ideas()]
        if kind == "wording":
            return self._unworded()
        if kind == "signoff":
            return [_proposal(each) for each in ([EXPORT] if self.doubtful else []) + list(self.consultation.arms)]
        return [_proposal(name) for name, each in VALUES[kind].items() if each.undecided is None]

    def _needing_ideas(self) -> list[int]:
        rows = current(self.ledger("threshold")).to_dicts()
        by_ideas = any(row["subject_ids"] == ["selection_rule"] and row["outcome"] == "ideas" for row in rows)
        return self._by_topic(self.statements()["statement_id"]) if by_ideas else []

    def _near_duplicates(self) -> list[Proposal]:
        """Pairs that say nearly the same, one of which reaches the cut, and on which no row decides yet.

        By a sentence model where the last run asked one, else by shared words.
        """
        texts = dict(self.statements().select("statement_id", "text").iter_rows())
        reached = set(self.selected() or texts)
        if self.topics is None:
            found, search = SameWords(texts).pairs(NEAR_DUPLICATE), SAME_WORDS
        else:
            found, search = (
                near_duplicates(self.topics.join(self.statements(), on="statement_id", how="semi")),
                SAME_MEANING,
            )
        decided = [set(row["subject_ids"]) for row in current(self.ledger("merge")).to_dicts()]
        return [
            Proposal((str(one), str(other)), f"similarity {similarity:.2f}", search)
            for one, other, similarity in found
            if {one, other} <= texts.keys()
            and {one, other} & reached
            and not any({str(one), str(other)} < own for own in decided)
        ]

    def _unworded(self) -> list[Proposal]:
        """What reached the cut and stands in no wording: a merge of it where there is one."""
        reached = self.selected()
        rejected = self.rejected()
        worded = {
            each
            for wording in map(wording_of, decided_rows(self.ledger("wording")))
            for each in wording.statement_ids
            if wording.rests_on("disagree" if each in rejected else "agree")
        }
        sets = [merge.statement_ids for merge in merges(self.ledger("merge"))]
        found: dict[tuple[str, ...], None] = {}
        for statement in reached or []:
            if statement not in worded:
                own = [each for each in sets if statement in each] or [(statement,)]
                found |= dict.fromkeys(tuple(str(each) for each in sorted(ids)) for ids in own)
        return [Proposal(subject) for subject in found]

    def findings(self, kind: str) -> list[Finding]:
        """Return what the checks find in one ledger; what rests on the selection is that of the last run."""
        ledger, raw = self.ledger(kind), self.imported.raw_statements
        known, reached = raw["statement_id"].to_list(), self.selected()
        if kind == "moderation":
            if broken := refusal("moderation", self.moderated_otherwise):
                return broken
            return checks.check_moderation(ledger, raw, self.consultation.file.moderation, self.moderated_otherwise())
        if kind == "exclusion":
            return checks.check_exclusions(ledger, self.imported.raw_participants, self.consultation.votes == PORTAL)
        if kind == "threshold":
            return checks.check_thresholds(ledger)
        if kind == "training":
            return checks.check_training(ledger)
        if kind == "signoff":
            basis = self.basis(kind)
            made = {arm: digest for arm in self.consultation.arms if (digest := basis([arm]))}
            found = checks.check_signoffs(ledger, made, self.consultation.arms)
            if self.doubtful:
                version, why = self.doubtful.version, self.doubtful.doubts
                found = checks.check_export(ledger, why, version, self.consultation.arms) + found
            return list(dict.fromkeys(found))
        if broken := refusal("moderation", self._moderated):
            return broken
        statements = self.statements()
        if kind == "merge":
            return checks.check_merges(ledger, statements, known, reached)
        if kind == "idea":
            return checks.check_ideas(ledger, statements, self._needing_ideas(), known)
        return checks.check_wordings(ledger, self.ledger("merge"), statements, reached or [], known, self.rejected())


def _proposal(subject: str) -> Proposal:
    return Proposal((subject,))
