"""Whose turn it is: what a session's log says about answers. Pure.

A turn's entry answers every message before it, and so does what staff say. So an answer is owed when something was
asked after these, and nothing but the log has to be remembered for that, whichever process dies when.
"""

from __future__ import annotations

from collections.abc import Sequence

from chatbox.session import MESSAGES, Entry, Kind, Sender, new_id, now_ms

SAID = (Kind.USER_MESSAGE, Kind.VOICE_MESSAGE)
ENDED = "session_ended"
HALT = "halt"
"""In a stop's metadata: begin no other answer to what was asked before, ever."""
PAUSE = "pause"
"""In a stop's metadata: begin no other answer just now; what was asked before is still owed."""


def owed(entries: Sequence[Entry]) -> bool:
    """Whether the newest entries of a log end with a question that neither a turn nor staff have taken up, in a session
    that goes on and that is the AI's, as far as these entries tell."""
    asked = free = False
    for entry in reversed(entries):
        if entry.kind is Kind.ADMIN_JOIN and not free:
            return False
        if settles(entry):
            return asked and (free or entry.sender is not Sender.ADMIN)
        free = free or entry.kind is Kind.ADMIN_LEAVE
        asked = asked or wants(entry)
    return asked


def wants(entry: Entry) -> bool:
    """Whether an answer is owed from this entry on."""
    return entry.kind is Kind.REGENERATE or asks(entry)


def settles(entry: Entry) -> bool:
    """Whether nothing is owed to what was asked before this entry."""
    return (
        entry.kind is Kind.TURN
        or (entry.kind in MESSAGES and entry.sender is Sender.ADMIN)
        or (entry.kind is Kind.NOTIFICATION and entry.metadata.get("event") == ENDED)
        or (entry.kind is Kind.STOP and HALT in entry.metadata)
    )


def asks(entry: Entry) -> bool:
    """Whether this is something that the user wants an answer to."""
    return entry.kind in SAID and entry.sender is Sender.USER


def replaced(entries: Sequence[Entry]) -> str | None:
    """The answer to the last question that still counts, if there is one: the next answer is in its place."""
    asked = max((entry.index for entry in entries if asks(entry)), default=0)
    turns = {entry.metadata.get("answer_id") for entry in entries if entry.kind is Kind.TURN and entry.index > asked}
    answers = [e for e in entries if e.kind is Kind.AI_RESPONSE and e.message_id in turns and not e.superseded]
    return answers[-1].message_id if answers else None


def open_turn(entries: Sequence[Entry]) -> Entry | None:
    """The turn whose answer is not in the log yet."""
    answered = {entry.message_id for entry in entries if entry.kind is Kind.AI_RESPONSE}
    turns = [entry for entry in entries if entry.kind is Kind.TURN]
    return turns[-1] if turns and turns[-1].metadata.get("answer_id") not in answered else None


def still_open(answer_id: str | None, entries: Sequence[Entry]) -> str | None:
    """The answer that is open after these entries, if ``answer_id`` was before them."""
    for entry in entries:
        if entry.kind is Kind.TURN:
            answer_id = entry.metadata.get("answer_id")
        elif entry.kind is Kind.AI_RESPONSE and entry.message_id == answer_id:
            answer_id = None
    return answer_id


class Owing:
    """What may be owed, as a log passes by. ``open_answer`` is not in the log yet; ``asked_at`` is when (in s, by the
    clock of who passes the entries) something was asked that nobody has taken up, or staff left, perhaps without having
    answered what was asked before all that has passed. ``assisted``: staff have the session."""

    __slots__ = ("asked_at", "assisted", "open_answer")

    def __init__(self) -> None:
        self.open_answer: str | None = None
        self.asked_at: float | None = None
        self.assisted = False

    def take(self, entry: Entry, now: float) -> None:
        """Pass the next entry."""
        self.open_answer = still_open(self.open_answer, [entry])
        if entry.kind in (Kind.ADMIN_JOIN, Kind.ADMIN_LEAVE):
            self.assisted = entry.kind is Kind.ADMIN_JOIN
        if settles(entry):
            self.asked_at = None
        elif entry.kind is Kind.STOP and PAUSE in entry.metadata:
            self.asked_at = self.asked_at and now
        elif (wants(entry) or entry.kind is Kind.ADMIN_LEAVE) and self.asked_at is None:
            self.asked_at = now


def turn_entry(session_id: str, answer_id: str) -> Entry:
    """The entry that takes a turn."""
    return Entry(
        session_id=session_id,
        kind=Kind.TURN,
        message_id=f"{answer_id}:turn",
        sender=Sender.SYSTEM,
        timestamp=now_ms(),
        metadata={"answer_id": answer_id},
    )


def halt_entry(session_id: str, answer_id: str, how: str) -> Entry:
    """The entry that stops an answer and begins no other one; ``how`` is ``HALT`` or ``PAUSE``."""
    return Entry(
        session_id=session_id,
        kind=Kind.STOP,
        message_id=new_id(),
        sender=Sender.SYSTEM,
        timestamp=now_ms(),
        metadata={"target": answer_id, how: "true"},
    )
