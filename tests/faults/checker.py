"""What a history proves, or what is wrong with it.

The rules are the promises: what is acknowledged is stored, as it was said, once, and at the position of the
acknowledgement; everyone is told the same in the same order, each thing once, and all of it; an answer is what the
model said, to the byte, and there is one a question; what begins to load comes to one end; while a member of staff
has a conversation, neither the AI nor another one says anything in it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tests.faults.history import FAIL, INFO, INVOKE, OK, Record, read
from tests.faults.model import HEAD, answer

WHOLE = frozenset({"stop"})


class Violation(NamedTuple):
    """``kind`` is a broken promise, in a word or two."""

    kind: str
    where: str
    detail: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}: {self.detail}"


class Entry(NamedTuple):
    """A message or an answer, as stored or as told."""

    seq: int
    id: str
    sender: str
    text: str


class Row(NamedTuple):
    """A stored entry with what is known of an answer."""

    entry: Entry
    finish: str
    replaces: str
    superseded: bool


@dataclass
class Said:
    """What a device said, and what became of it."""

    device: str
    user: str
    id: str
    text: str
    outcome: str = INFO
    seq: int | None = None


@dataclass
class Told:
    """What a device was told, in its order."""

    entries: list[Entry] = field(default_factory=list)
    finishes: dict[str, str] = field(default_factory=dict)
    loading: list[str] = field(default_factory=list)
    late: list[str] = field(default_factory=list)
    pieces: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    resets: list[str] = field(default_factory=list)
    ended: str = ""


@dataclass
class Facts:
    """A history, sorted by what it is about. ``stored``: user, session, who read it; ``words`` are staff's: user, who
    read them."""

    said: dict[str, Said] = field(default_factory=dict)
    told: defaultdict[str, Told] = field(default_factory=lambda: defaultdict(Told))
    frames: defaultdict[str, list[Record]] = field(default_factory=lambda: defaultdict(list))
    stored: dict[str, dict[str, dict[str, list[Row]]]] = field(default_factory=dict)
    by_staff: list[Record] = field(default_factory=list)
    words: defaultdict[str, defaultdict[str, list[Record]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(list))
    )
    calls: Counter[str] = field(default_factory=Counter)
    again: Counter[str] = field(default_factory=Counter)
    users: dict[str, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    identical: set[str] = field(default_factory=set)

    def of_staff(self, user: str) -> list[Record]:
        """What is stored that staff said to a user, as the first reader saw it."""
        return next(iter(self.words[user].values()), [])

    def rows(self, user: str) -> list[Row]:
        """What is stored for a user, as the first reader saw it."""
        sessions = self.stored.get(user, {})
        return [row for readers in sessions.values() for row in next(iter(readers.values()))]


@dataclass
class Verdict:
    """``counts`` by what was counted; ``identical`` are the questions whose answers are the model's, whole and to the
    byte. Nothing is wrong when ``violations`` is empty."""

    counts: Counter[str]
    violations: list[Violation]
    identical: set[str]

    @property
    def kinds(self) -> set[str]:
        return {violation.kind for violation in self.violations}


def check_file(path: Path, ends: frozenset[str] = WHOLE) -> Verdict:
    return check(read(path), ends)


def check(records: Iterable[Record], ends: frozenset[str] = WHOLE) -> Verdict:
    """``ends`` are the finish reasons that answers may have. Without what is stored, only what was told is checked."""
    facts = gathered(records)
    rules: tuple[Callable[[Facts], Iterator[Violation]], ...] = (stayed, streamed, framed, one_log, one_owner)
    if facts.stored:
        rules += (kept, spoken, once, in_order, one_session, agreed, answered, one_answer, heard, loaded)
    violations = [violation for rule in rules for violation in rule(facts)]
    violations += ended(facts, ends)
    return Verdict(facts.counts, violations, facts.identical)


# -- sorting a history -----------------------------------------------------------------------------------------------


def gathered(records: Iterable[Record]) -> Facts:
    facts = Facts()
    for record in records:
        if record.user:
            facts.users[record.who] = record.user
        match record.what:
            case "say":
                _say(facts, record)
            case "regenerate":
                facts.again[record.user] += record.kind == INVOKE
            case "answer" if record.who == "model":
                facts.calls[record.text] += record.kind == INVOKE
            case "message" | "answer" | "loading" | "piece" | "reset" | "ended":
                _tell(facts.told[record.who], record)
            case "frame" | "close":
                facts.frames[record.who].append(record)
            case "stored":
                _store(facts, record)
            case "staff" if record.kind == OK:
                facts.by_staff.append(record)
            case "words":
                facts.words[record.user][record.who].append(record)
            case "connected":
                facts.counts["connections"] += 1
                facts.told[record.who]
            case "fault":
                facts.counts[record.text] += 1
    facts.counts["acknowledged"] = sum(said.outcome == OK for said in facts.said.values())
    facts.counts["model calls"] = facts.calls.total()
    return facts


def _say(facts: Facts, record: Record) -> None:
    if record.kind == INVOKE:
        facts.said[record.id] = Said(record.who, record.user, record.id, record.text)
    else:
        said = facts.said[record.id]
        said.outcome, said.seq = record.kind, record.seq


def _tell(told: Told, record: Record) -> None:
    match record.what:
        case "message" | "answer":
            sender = record.more.get("sender", "ai")
            told.entries.append(Entry(record.seq or 0, record.id, sender, record.text))
            told.finishes[record.id] = record.more.get("finish_reason", "")
        case "loading":
            told.loading.append(record.id)
            if record.id in told.finishes:
                told.late.append(record.id)
        case "piece":
            told.pieces[record.id].append(record.text)
        case "reset":
            told.resets.append(record.text)
        case "ended":
            told.ended = record.text


def _store(facts: Facts, record: Record) -> None:
    more = record.more
    entry = Entry(record.seq or 0, record.id, more.get("sender", ""), record.text)
    row = Row(entry, more.get("finish_reason", ""), more.get("replaces", ""), more.get("superseded") == "true")
    readers = facts.stored.setdefault(record.user, {}).setdefault(record.session, {})
    readers.setdefault(record.who, []).append(row)


# -- what was said and what is stored --------------------------------------------------------------------------------


def kept(facts: Facts) -> Iterator[Violation]:
    """Acknowledged is stored, as said, where the acknowledgement says. Refused is not stored."""
    stored = {user: {row.entry.id: row.entry for row in facts.rows(user)} for user in facts.stored}
    for said in facts.said.values():
        entry = stored.get(said.user, {}).get(said.id)
        if said.outcome == FAIL and entry:
            yield Violation("refused but stored", said.device, said.text)
        if said.outcome != OK:
            continue
        if entry is None:
            yield Violation("lost", said.device, f"{said.text!r}, acknowledged at {said.seq}")
        elif entry.text != said.text:
            yield Violation("altered", said.device, f"{said.text!r} is stored as {entry.text!r}")
        elif entry.seq != said.seq:
            yield Violation("moved", said.device, f"{said.text!r} acknowledged at {said.seq}, stored at {entry.seq}")


def spoken(facts: Facts) -> Iterator[Violation]:
    """What staff said and was acknowledged is stored, as said, once, under their name."""
    for said in facts.by_staff:
        facts.counts[f"staff {said.more['type']}"] += 1
        if said.more["type"] != "user_message":
            continue
        stored = [one for one in facts.of_staff(said.more["of"]) if one.id == said.id]
        if not stored:
            yield Violation("lost", said.who, f"{said.text!r} to {said.more['of']}")
        elif len(stored) > 1:
            yield Violation("stored twice", said.who, said.text)
        elif (stored[0].text, stored[0].more.get("admin_id")) != (said.text, said.who):
            yield Violation("altered", said.who, f"{said.text!r} is stored as {stored[0].text!r}")


def once(facts: Facts) -> Iterator[Violation]:
    """Nothing is stored that nobody said, and nothing twice."""
    for user in facts.stored:
        entries = [row.entry for row in facts.rows(user)]
        for what, seen in (("id", Counter(e.id for e in entries)), ("text", Counter(map(_own_words, entries)))):
            for value, times in seen.items():
                if value and times > 1:
                    yield Violation("stored twice", user, f"{what} {value!r} {times} times")
        for entry in entries:
            if entry.sender == "user" and entry.id not in facts.said:
                yield Violation("invented", user, repr(entry.text))


def _own_words(entry: Entry) -> str:
    return entry.text if entry.sender == "user" else ""


def in_order(facts: Facts) -> Iterator[Violation]:
    """What one device said is stored in the order in which it was said."""
    at = {row.entry.id: row.entry.seq for user in facts.stored for row in facts.rows(user)}
    last: dict[str, int] = {}
    for said in facts.said.values():
        seq = at.get(said.id)
        if seq is None:
            continue
        if seq <= last.get(said.device, 0):
            yield Violation("out of order", said.device, said.text)
        last[said.device] = seq


def one_session(facts: Facts) -> Iterator[Violation]:
    """A user who asks for no other session stays in one."""
    for user, sessions in facts.stored.items():
        if len(sessions) > 1:
            yield Violation("second session", user, ", ".join(sessions))


def agreed(facts: Facts) -> Iterator[Violation]:
    """Whoever reads it, the log is the same."""
    for user, sessions in facts.stored.items():
        for session, readers in sessions.items():
            (first, rows), *others = readers.items()
            for name, theirs in others:
                if theirs != rows:
                    yield Violation("readers disagree", user, f"{session} by {first} and by {name}")


# -- answers ---------------------------------------------------------------------------------------------------------


def answered(facts: Facts) -> Iterator[Violation]:
    """An answer is what the model said, to the byte: all of it, or, ended before, its beginning."""
    for user in facts.stored:
        asked: set[str] = set()
        last = None
        for row in facts.rows(user):
            if row.entry.sender == "user":
                asked.add(row.entry.text)
                last = row.entry
                continue
            facts.counts[f"answers {row.finish}"] += 1
            last = None
            if wrong := _wrong(row, asked, facts.calls):
                yield Violation("wrong answer", user, wrong)
            elif row.finish == "stop":
                facts.identical.add(HEAD.match(row.entry.text)["question"])
        if last and not any((said.seq or 0) > last.seq for said in facts.of_staff(user)):
            yield Violation("unanswered", user, repr(last.text))


def _wrong(row: Row, asked: set[str], calls: Counter[str]) -> str:
    """What is wrong with an answer."""
    head = HEAD.match(row.entry.text)
    if head is None:
        started = row.finish != "stop" and any(f"[{question}#".startswith(row.entry.text) for question in asked)
        return "" if started else f"nobody said {row.entry.text[:80]!r}"
    question, call = head["question"], int(head["call"])
    if question not in asked:
        return f"an answer to what was not asked before: {question!r}"
    if call >= calls[question]:
        return f"the model was not asked {question!r} so often"
    whole = answer(question, call)
    if row.finish == "stop":
        return "" if row.entry.text == whole else f"to {question!r}: {_difference(row.entry.text, whole)}"
    return "" if whole.startswith(row.entry.text) else f"to {question!r}: {_difference(row.entry.text, whole)}"


def _difference(got: str, expected: str) -> str:
    at = next((n for n, (a, b) in enumerate(zip(got, expected, strict=False)) if a != b), min(len(got), len(expected)))
    return f"{len(got)} characters for {len(expected)}, different from {at} on"


def one_answer(facts: Facts) -> Iterator[Violation]:
    """One answer a question; another one only in its place and when it was asked for, of the model too."""
    for user in facts.stored:
        standing: Counter[str] = Counter()
        for row in facts.rows(user):
            head = HEAD.match(row.entry.text) if row.entry.sender == "ai" else None
            if head and not row.superseded:
                standing[head["question"]] += 1
            if row.replaces and facts.again[user] == 0:
                yield Violation("second answer", user, f"{row.entry.id} replaces {row.replaces}, which nobody wanted")
        for question, times in standing.items():
            if times > 1:
                yield Violation("second answer", user, f"{question!r} has {times}")
        for said in facts.said.values():
            if said.user == user and facts.calls[said.text] > 1 + facts.again[user]:
                yield Violation("model asked twice", user, f"{said.text!r}: {facts.calls[said.text]} times")


def ended(facts: Facts, ends: frozenset[str]) -> Iterator[Violation]:
    """Answers end as they may."""
    for user in facts.stored:
        for row in facts.rows(user):
            if row.entry.sender == "ai" and row.finish not in ends:
                yield Violation("wrong end", user, f"{row.entry.id} ended with {row.finish!r}")


# -- what devices were told ------------------------------------------------------------------------------------------


def heard(facts: Facts) -> Iterator[Violation]:
    """Each device was told exactly what is stored, in that order, each thing once."""
    for device, told in facts.told.items():
        if device not in facts.users:
            continue
        stored = {row.entry.id: row.entry for row in facts.rows(facts.users[device])}
        seen: set[str] = set()
        at = 0
        for entry in told.entries:
            if entry.id in seen:
                yield Violation("told twice", device, entry.id)
            elif entry.seq <= at:
                yield Violation("told out of order", device, f"{entry.seq} after {at}")
            if entry.id not in stored:
                yield Violation("told, not stored", device, repr(entry))
            elif entry != stored[entry.id]:
                yield Violation("told otherwise", device, f"{entry!r}, stored is {stored[entry.id]!r}")
            seen.add(entry.id)
            at = max(at, entry.seq)
        for entry_id in stored.keys() - seen:
            yield Violation("not told", device, repr(stored[entry_id]))
        for reason in told.resets:
            yield Violation("reset", device, reason)
        facts.counts["told"] += len(seen)


def stayed(facts: Facts) -> Iterator[Violation]:
    """No device gives up."""
    for device, told in facts.told.items():
        if told.ended:
            yield Violation("gave up", device, told.ended)


def loaded(facts: Facts) -> Iterator[Violation]:
    """Each loading has one end, and comes before it."""
    for device, told in facts.told.items():
        for answer_id, times in Counter(told.loading).items():
            if times > 1:
                yield Violation("loaded twice", device, answer_id)
            if answer_id not in told.finishes:
                yield Violation("no end", device, f"{answer_id} is still loading")
        for answer_id in told.late:
            yield Violation("loaded after its end", device, answer_id)


def streamed(facts: Facts) -> Iterator[Violation]:
    """Pieces are the answer, from its first character; of one that broke off, more or less of it."""
    for device, told in facts.told.items():
        for entry in told.entries:
            pieces = "".join(told.pieces.get(entry.id, ()))
            if entry.sender != "ai" or not pieces:
                continue
            broken_off = told.finishes[entry.id] != "stop"
            begins = pieces.startswith(entry.text) or entry.text.startswith(pieces)
            if pieces != entry.text and not (broken_off and begins):
                yield Violation("torn", device, f"{entry.id}: {_difference(pieces, entry.text)}")


# -- what came over the wire -----------------------------------------------------------------------------------------


def framed(facts: Facts) -> Iterator[Violation]:
    """On each socket positions follow each other without a gap or a double, and each loading has at most one end."""
    for socket, frames in facts.frames.items():
        facts.counts["sockets"] += 1
        at: int | None = None
        done: set[str] = set()
        for frame in frames:
            if frame.what == "close":
                facts.counts[f"closed with {frame.text}"] += 1
                break
            kind = frame.more["type"]
            if kind == "connection_status":
                facts.counts["resumed"] += frame.more.get("resumed") == "true"
                at = frame.seq
                continue
            if at is None and kind != "error":
                yield Violation("no greeting", socket, kind)
                break
            if frame.more.get("done") and frame.id in done:
                yield Violation("two ends", socket, frame.id)
            if frame.more.get("done") == "true":
                done.add(frame.id)
            if frame.seq is None or at is None or (kind == "ack" and frame.seq <= at):
                continue
            prev = frame.seq - 1 if frame.prev is None else frame.prev
            if prev != at or frame.seq <= at:
                yield Violation("gap", socket, f"{kind} covers {prev} to {frame.seq}, the position was {at}")
            at = frame.seq


def one_owner(facts: Facts) -> Iterator[Violation]:
    """On each socket, between the coming and the going of a member of staff there is nothing of the AI's or of another
    one's. Who has the conversation where a socket resumed is not known until somebody comes or goes."""
    for socket, frames in facts.frames.items():
        owner: str | None = UNKNOWN
        for frame in frames:
            kind, who = frame.more.get("type", ""), frame.more.get("admin_id")
            expected = frame.more.get("from_id") if kind == "admin_join" else who
            if kind == "connection_status":
                owner = who if frame.more.get("resumed") == "false" else UNKNOWN
            elif kind in ("loading", "ai_response") and owner not in (None, UNKNOWN):
                yield Violation("the AI during a takeover", socket, f"{kind} {frame.id}, {owner} has the conversation")
            elif who and owner not in (expected, UNKNOWN):
                yield Violation("two owners", socket, f"{kind} of {who}, {owner or 'the AI'} has the conversation")
            if kind in ("admin_join", "admin_leave"):
                facts.counts[f"{kind} seen"] += 1
                owner = who if kind == "admin_join" else None


UNKNOWN = ""


def one_log(facts: Facts) -> Iterator[Violation]:
    """A position means the same to everyone, for ever."""
    meaning: dict[tuple[str, int], str] = {}
    for socket, frames in facts.frames.items():
        for frame in frames:
            if frame.what == "close" or frame.seq is None or not frame.id or frame.more["type"] == "ack":
                continue
            first = meaning.setdefault((frame.session, frame.seq), frame.id)
            if first != frame.id:
                yield Violation("two at one position", socket, f"{frame.seq}: {first} and {frame.id}")
