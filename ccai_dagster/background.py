"""What a person reads before deciding on a subject: statements, figures of the last run, and earlier decisions.

The same for the terminal, for sheets and for the desk in a browser. Lines hold nothing that moves a cursor, turns the
reading direction or is taken for markup of a terminal; a page still escapes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from ccai_dagster.alternatives import selections
from ccai_dagster.constitution.principles import constitution_digest
from ccai_dagster.consultation.folder import EXPORT, PLACEHOLDERS
from ccai_dagster.core.errors import ConsultationError
from ccai_dagster.core.home import PAGES
from ccai_dagster.core.text import counted, printable
from ccai_dagster.decisions.agenda import AgendaItem, SameWords
from ccai_dagster.decisions.independent_decisions import rows_by_subject
from ccai_dagster.decisions.ledger import VERBS, WITHDRAWN, as_kept, replaced_rows, split_ids
from ccai_dagster.decisions.outcomes import policies
from ccai_dagster.decisions.values import VALUES
from ccai_dagster.deliberation.stability import INTERVAL
from ccai_dagster.deliberation.votes import group_name
from ccai_dagster.open_consultation import OpenConsultation
from ccai_dagster.signed_constitutions import last_signed, since_signed
from ccai_dagster.wording_drafts import WordingDraft, WordingDrafts

QUOTED = 160
"""Characters of a neighbouring statement or an earlier reason."""

MODERATED = {1: "moderated in", -1: "moderated out", 0: "never moderated"}


class Background:
    """The background of one kind; what all have in common is read once."""

    def __init__(self, opened: OpenConsultation, kind: str) -> None:
        self._opened = opened
        self._kind = kind
        self._raw = {row["statement_id"]: row for row in opened.imported.raw_statements.to_dicts()}
        self._in: dict[int, str] = {}
        if kind in ("merge", "idea", "wording"):
            self._in = dict(opened.statements().select("statement_id", "text").iter_rows())
        self._words = SameWords(self._in or {key: row["text"] for key, row in self._raw.items()})
        self._groups = opened.table("opinion_groups")
        self._scores = _by_id(opened.table("gac_scores"))
        self._intervals = _by_id(opened.table("consensus_stability"))
        self._selected = _by_id(opened.table("selected_statements"))
        self._topics = _by_id(opened.topics)
        self._written = WordingDrafts(opened) if kind == "wording" else None

    def lines(self, item: AgendaItem) -> Iterator[str]:
        """Yield the lines about one subject.

        Where the policy asks for a second, independent decision, the first one is not shown.
        """
        blind = item.state == "one of two"
        if item.proposal.why:
            yield f"put forward by {item.proposal.suggested_by}: {item.proposal.why}"
        if values := VALUES.get(self._kind):
            value = values[item.subject[0]]
            yield f"{item.subject[0]}: {value.meaning}; {value.allowed.expected}"
            if self._kind == "threshold":
                yield from self._selections(item.subject[0])
        elif self._kind == "exclusion":
            yield from self._participant(int(item.subject[0]))
        elif self._kind == "signoff":
            yield from self._export() if item.subject == (EXPORT,) else self._constitution(item.subject[0])
        else:
            yield from self._statements(item)
        if blind:
            yield "One person has decided; the policy asks you to decide without seeing it."
        else:
            yield from self._earlier(item)

    def _selections(self, subject: str) -> Iterator[str]:
        """What each value would select; as things are now, without a run."""
        try:
            yield from (f"   {line}" for line in selections(self._opened, subject))
        except ConsultationError as error:
            yield f"   what it would select cannot be told: {error}"

    def policies(self) -> Iterator[str]:
        """Yield the policies of this kind, which hold for every subject."""
        for policy in policies(self._opened.ledger(self._kind)):
            yield f"policy {printable(policy.subject)} ({policy.decision_id}): {printable(policy.text)}"

    def drafts(self, item: AgendaItem) -> list[WordingDraft]:
        """Return drafts of the outcome that a person may take over: the template's, then a language model's if kept."""
        return self._written.of(item.subject) if self._written else []

    def ask_for_draft(self, item: AgendaItem) -> None:
        """Let the feedback model's server draft a wording, unless it has.

        Raises:
            ConsultationError: No server is named, or it does not answer.
        """
        if self._written:
            self._written.ask([item.subject])

    def suggested_by(self, item: AgendaItem, outcome: str) -> str | None:
        """Return what put an outcome forward: a draft, where somebody took that over as it stands."""
        drafted = {each.outcome: each.suggested_by for each in reversed(self.drafts(item))}
        return drafted.get(as_kept(self._kind, outcome), item.proposal.suggested_by)

    def _earlier(self, item: AgendaItem) -> Iterator[str]:
        """Every row on the subject and everything that its rows replaced, the latest first."""
        rows = self._opened.ledger(self._kind).to_dicts()
        by_id = {row["decision_id"]: row for row in rows}
        earlier = {key: split_ids(row["supersedes"]) for key, row in by_id.items()}
        own = [row["decision_id"] for row in reversed(rows) if item.subject in rows_by_subject([row])]
        replaced = [each for row in item.rows for each in replaced_rows(row["decision_id"], earlier)]
        counting = {row["decision_id"] for row in item.rows}
        for row in (by_id[each] for each in dict.fromkeys([*own, *replaced])):
            counts = "counts now" if row["decision_id"] in counting else "replaced"
            yield (
                f"{counts}: {row['decision_id']}, {printable(row['decided_by'])}, {row['decided_at'][:10]}: "
                f"{printable(row['outcome'], 400)}; reason: {printable(row['reason'], 400)}"
            )

    def _statements(self, item: AgendaItem) -> Iterator[str]:
        ids = [int(each) for each in item.subject]
        for key in ids:
            raw, text = self._raw[key], self._in.get(key)
            yield f"{key}: “{printable(raw['text'] if text is None else text)}”"
            if text is not None and text != raw["text"]:
                yield f"   typed as “{printable(raw['text'], QUOTED)}”"
            yield f"   {_origin(raw)}"
            if about := self._topics.get(key):
                yield f"   topic {about['topic_id'] + 1}: {printable(about['topic'], QUOTED)}"
            yield from self._figures(key)
        if self._kind == "wording" and len(ids) > 1 and (source := self._opened.wording_sources()(item.subject)):
            yield f"merged ({source.merge_id}): “{printable(source.text)}”"
        for key in ids:
            how, nearest = self._nearest(key)
            for other, similarity in nearest:
                if other not in ids and other in self._raw:
                    text = self._in.get(other, self._raw[other]["text"])
                    near = f"near {key}: " if len(ids) > 1 else "near: "
                    yield f"{near}{other} ({how} {similarity:.2f}) “{printable(text, QUOTED)}”"

    def _nearest(self, key: int) -> tuple[str, Iterable[tuple[int, float]]]:
        """The statements nearest to one, and in what."""
        if about := self._topics.get(key):
            return "meaning", zip(about["neighbour_ids"], about["neighbour_similarity"], strict=True)
        return "shared words", self._words.nearest(key)

    def _figures(self, key: int) -> Iterator[str]:
        votes = self._opened.imported.raw_votes.filter(statement_id=key)
        given = self._opened.imported.raw_group_votes.filter(statement_id=key)
        if given.height:
            for group, *counts in given.select("group_id", "n_agree", "n_disagree", "n_pass").iter_rows():
                yield f"   {group_name(group)}: {_told(*counts)}"
        else:
            yield f"   {_counted(votes)}"
        if self._groups is not None:
            by_group = votes.join(self._groups, on="participant_id").group_by("group_id", maintain_order=True)
            for (group,), own in sorted(by_group, key=lambda each: each[0][0]):
                yield f"   {group_name(int(str(group)))}: {_counted(own)}"
        if (score := self._scores.get(key)) and score["gac"] is not None:
            interval, known = "", self._intervals.get(key)
            if known and known["gac_low"] is not None:
                interval = f" [{known['gac_low']:.2f}, {known['gac_high']:.2f}]"
            place = self._selected.get(key)
            reached = f", rank {place['rank']}, {'reaches' if place['selected'] else 'below'} the cut" if place else ""
            if place and place.get("side") == "disagree":
                yield f"   every group rejects it: consensus on that {place['gac']:.2f}{reached}"
                reached = ""
            yield f"   group-aware consensus {score['gac']:.2f}{interval} in the last run{reached}"
        else:
            yield "   no group-aware consensus yet: it was not in the last run"

    def _participant(self, participant: int) -> Iterator[str]:
        votes = self._opened.imported.raw_votes.filter(participant_id=participant)
        yield f"participant {participant}: {_counted(votes)}"

    def _export(self) -> Iterator[str]:
        if doubtful := self._opened.doubtful:
            yield "the export may not be whole, so it is not imported:"
            yield from (f"   {each}" for each in doubtful.doubts)
            yield "if it is right as it is, sign it; else get it again"
            yield f"digest {doubtful.version}"

    def _constitution(self, arm: str) -> Iterator[str]:
        table = self._opened.constitution(arm)
        if table is None:
            yield "nothing to sign yet: `ccai review wording`, then `ccai run`"
            return
        if self._opened.consultation.arms[arm].constitution == "ledgers":
            yield from self.to_know_before_signing()
        yield f"the constitution {arm}, {counted(table.height, 'principle')}:"
        for row in table.iter_rows(named=True):
            yield f"   {row['principle_id']}: {printable(row['text'], 10_000)}"
        yield from self._since_signed(arm)
        yield f"digest {constitution_digest(table)}"

    def _since_signed(self, arm: str) -> Iterator[str]:
        """What entered, left and changed since somebody last signed it."""
        if (row := last_signed(self._opened, arm)) is None:
            return
        when = f"last signed by {printable(row['decided_by'])} on {row['decided_at'][:10]} ({row['decision_id']})"
        since = since_signed(self._opened, arm)
        if since is None:
            yield f"{when}; what it said then is not kept, so what changed cannot be told"
        elif since.nothing:
            yield f"{when}; nothing has changed since"
        else:
            yield f"{when}; since then:"
            yield from (f"   entered: {key}: {printable(text, 10_000)}" for key, text in since.entered.items())
            yield from (f"   left: {key}: {printable(text, 10_000)}" for key, text in since.left.items())
            for key, (old, new) in since.changed.items():
                yield f"   changed: {key}: {printable(new, 10_000)}"
                yield f"      before: {printable(old, 10_000)}"

    def to_know_before_signing(self) -> Iterator[str]:
        """What is still a placeholder, what nobody has considered or decided, how sure it is, and where to read it."""
        opened = self._opened
        own = {name: getattr(opened.consultation.file, name) for name in PLACEHOLDERS}
        if left := [name for name, text in own.items() if text == PLACEHOLDERS[name]]:
            yield f"still a placeholder in consultation.yaml: {', '.join(left)}"
        for kind in ("threshold", "training"):
            if names := [item.subject[0] for item in opened.agenda(kind) if item.state == "not considered"]:
                yield f"nobody considered yet, in {kind}.csv: {', '.join(names)}"
        if waiting := sum(item.state != "decided" for item in opened.agenda("wording")):
            yield f"{counted(waiting, 'subject')} of wording.csv {'waits' if waiting == 1 else 'wait'} for a decision"
        if (sure := how_sure(opened)) is not None:
            yield sure
        page = opened.home.report / PAGES["Constitution"]
        yield f"to read or to show: {page}" if page.is_file() else "`ccai run` makes a page of it to read and to show"


def choices(item: AgendaItem) -> str:
    """Return what can be typed as a decision on this subject."""
    if values := VALUES.get(item.kind):
        value = values[item.subject[0]]
        return value.allowed.expected if value.is_policy else "the value"
    verbs = {"ideas": "ideas: ONE | ANOTHER"}
    shown = [verbs.get(verb, f"{verb}: TEXT" if text else verb) for verb, text in VERBS[item.kind].items()]
    return ", ".join([*shown, *([WITHDRAWN] if item.rows else [])])


def _origin(raw: Mapping[str, Any]) -> str:
    who = f"by participant {raw['author_id']}" if raw["author_id"] is not None else "by nobody the export names"
    who = "by the organisers" if raw["is_seed"] else who
    when = f" on {raw['created_at']:%Y-%m-%d}" if raw["created_at"] else ""
    marked = " and marked as metadata (about the people who vote)" if raw["is_meta"] else ""
    return f"submitted {who}{when}; {MODERATED[raw['moderated']]}{marked} by the export"


def _counted(votes: pl.DataFrame) -> str:
    counts = dict(votes["vote"].value_counts().iter_rows())
    return _told(*(counts.get(vote, 0) for vote in (1, -1, 0)))


def _told(agree: int, disagree: int, passes: int) -> str:
    total = agree + disagree + passes
    share = f" ({agree / total:.0%} agree)" if total else ""
    return f"{counted(total, 'vote')}: {agree:,} agree, {disagree:,} disagree, {passes:,} pass{share}"


def _by_id(table: pl.DataFrame | None) -> dict[int, dict[str, Any]]:
    return {} if table is None else {row["statement_id"]: row for row in table.to_dicts()}


def how_sure(opened: OpenConsultation) -> str | None:
    """Say how often statements and groups are found again in other draws; None if the last run did not ask."""
    names = ("selected_statements", "consensus_stability", "group_stability")
    selected, sure, drawn = (opened.table(name) for name in names)
    if selected is None or sure is None or drawn is None or drawn.is_empty():
        return None
    own = sure.join(selected.filter("selected"), on="statement_id", how="semi")
    likeness = drawn.filter(pl.col("varied") == "participants")["adjusted_rand"]
    return (
        f"{own.filter(pl.col('selection_probability') >= INTERVAL[1]).height} of {own.height} "
        f"reach the cut in {INTERVAL[1]:.0%} of draws of other participants; groups are found again with an "
        f"adjusted Rand index of {likeness.quantile(0.5, 'linear'):.2f} [{min(likeness):.2f}, {max(likeness):.2f}]"
    )
