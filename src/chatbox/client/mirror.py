"""The client's side of the log: frames in, events out, and the position between them. No I/O.

However often the connection is cut, and whatever comes twice, each position of the log becomes events once: a frame at
or before the position is dropped, a frame that starts after it is a ``Gap``. What a resume can't bring is read by HTTP
and goes in through ``greet``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import NamedTuple

from chatbox.client.events import (
    Answer,
    Connected,
    Event,
    HelpNews,
    Loading,
    Message,
    Notice,
    Piece,
    Problem,
    Reset,
    StaffJoined,
    StaffLeft,
    Typing,
)
from chatbox.client.frames import Command, Frame, NoFrame
from chatbox.client.standing import Standing
from chatbox.errors import ChatboxError


class Gap(ChatboxError):
    """Frames are missing before this one: connect again and resume."""


class Position(NamedTuple):
    """Where in which log."""

    session_id: str
    epoch: str
    seq: int


class Missing(NamedTuple):
    """What a greeting leaves out: everything stored after one position, up to and with the other."""

    after: int
    until: int


class _Growing:
    """An answer that is coming in. It may start over (``clear``); what was told of it is not told again."""

    __slots__ = ("_size", "_texts", "_told", "id")

    def __init__(self, message_id: str) -> None:
        self.id = message_id
        self._texts: list[str] = []
        self._size = self._told = 0

    def add(self, text: str) -> Iterator[Event]:
        """The text that follows; the part of it that is news is told."""
        news = text[max(0, self._told - self._size) :]
        self._texts.append(text)
        self._size += len(text)
        self._told = max(self._told, self._size)
        if news:
            yield Piece(self.id, news)

    def clear(self) -> None:
        self._texts.clear()
        self._size = 0

    @property
    def text(self) -> str:
        return "".join(self._texts)


class Mirror:
    """A conversation as far as it was seen.

    ``own`` finds the commands of this client that were not acknowledged yet, by ``message_id``. ``history``: what was
    said before the first connection is wanted too.
    """

    __slots__ = ("_answer", "_history", "_noticed", "_own", "_seen", "_standing", "position")

    def __init__(self, own: Callable[[str], Command | None], *, history: bool = False) -> None:
        self._own = own
        self._history = history
        self._answer: _Growing | None = None
        self._seen = 0  # the newest stored entry that was told; a position may go back behind it
        self._noticed: str | None = None  # the newest own command whose notice was told at its ack
        self._standing = Standing()
        self.position: Position | None = None

    @property
    def running(self) -> str | None:
        """The id of the answer that is coming in."""
        return self._answer.id if self._answer else None

    # -- the first frame of a connection -------------------------------------------------------------------------------

    def missing(self, greeting: Frame) -> Missing | None:
        """What has to be read by HTTP before ``greet``."""
        if greeting.type != "connection_status" or greeting.seq is None:
            raise NoFrame(f"the server began with {greeting.type} instead of connection_status")
        if greeting.metadata.get("resumed") == "true":
            return None
        if self.position is None:
            return Missing(0, greeting.seq) if self._history else None
        return Missing(0 if self._reset(greeting) else self._seen, greeting.seq)

    def greet(self, greeting: Frame, missed: Iterable[Frame] = ()) -> Iterator[Event]:
        """Take a new connection up. ``missed`` are the stored messages that ``missing`` asked for, in order."""
        resumed, reset = greeting.metadata.get("resumed") == "true", self._reset(greeting)
        yield Connected(
            session_id=greeting.session_id,
            user_id=greeting.user_id,
            models=greeting.models,
            model_id=greeting.metadata.get("model_id"),
            help_state=greeting.metadata.get("help_state", "none"),
            resumed=resumed,
            staff_name=_staff_name(greeting.metadata) if "admin_id" in greeting.metadata else None,
            help_email=greeting.metadata.get("help_email"),
        )
        if resumed:
            return
        if reset:
            self._answer, self._seen, self._standing = None, 0, Standing()
            yield Reset(reset)
        elif self._answer:
            self._answer.clear()
        if self.position is None and not self._history:
            known = greeting.metadata
            self._standing = Standing(known.get("help_state", "none"), assisted="admin_id" in known)
        self.position = Position(greeting.session_id, greeting.epoch, 0)
        yield from chain.from_iterable(self.receive(frame) for frame in missed)
        self.position = self.position._replace(seq=greeting.seq or 0)

    def _reset(self, greeting: Frame) -> str | None:
        """Why what was seen so far does not count any more."""
        if self.position is None:
            return None
        if greeting.session_id != self.position.session_id:
            return "session"
        reason = greeting.metadata.get("reason")
        return None if reason == "too_far" else reason or "unknown"

    # -- the others ----------------------------------------------------------------------------------------------------

    def receive(self, frame: Frame) -> Iterator[Event]:
        """The events of a frame. Raises ``Gap``."""
        if frame.seq is not None and not self._advance(frame):
            return
        match frame.type:
            case "ack":
                yield from self._acknowledged(frame)
            case "user_message" | "file_upload" | "voice_message":
                yield _message(frame, own=self._own(frame.message_id) is not None)
            case "loading":
                yield from self._loading(frame)
            case "ai_response":
                yield from self._piece(frame) if _is_piece(frame) else self._done(frame)
            case "admin_join":
                self._standing.joined()
                yield StaffJoined(_staff_name(frame.metadata), frame.seq or 0, frame.metadata.get("from_name"))
            case "admin_leave":
                self._standing.left()
                yield StaffLeft(_staff_name(frame.metadata), frame.seq or 0, frame.metadata.get("reason", "left"))
            case "typing_indicator":
                yield Typing(frame.sender, _staff_name(frame.metadata))
            case "notification" if frame.seq is not None or frame.message_id != self._noticed:
                yield self._notice(frame.content, frame.metadata, frame.seq)
            case "error":
                error = frame.error
                yield Problem(error.code, error.message, error.recoverable, error.retry_after, frame.message_id)

    def _advance(self, frame: Frame) -> bool:
        """Move to the frame's position; false when it was told before."""
        seq = frame.seq or 0
        if self.position is None or seq <= self.position.seq:
            return False
        at, prev = self.position.seq, seq - 1 if frame.prev is None else frame.prev
        if prev > at or (prev < at and _is_piece(frame)):
            raise Gap(f"the position is {at}, the next frame covers what follows {prev}")
        self.position = self.position._replace(seq=seq)
        if _is_piece(frame):
            return True
        news, self._seen = seq > self._seen, max(seq, self._seen)
        return news

    def _acknowledged(self, ack: Frame) -> Iterator[Event]:
        """The client's own words, and what its commands changed, at their place in the log. The server tells the change
        once more after the ack, without a position; a line cut between the two must not lose it."""
        own = self._own(ack.message_id)
        if own is None:
            return
        if own.type == "user_message":
            yield Message(
                message_id=own.message_id,
                seq=ack.seq or 0,
                sender="user",
                content=own.content,
                own=True,
                model_id=own.model_id,
                metadata=own.metadata,
            )
        elif metadata := _change(own):
            self._noticed = own.message_id
            yield self._notice(own.content, metadata, ack.seq)

    def _notice(self, content: str, metadata: dict[str, str], seq: int | None) -> Notice | HelpNews:
        if metadata.get("event") != "help_state":
            return Notice(event=metadata.get("event", ""), content=content, metadata=metadata, seq=seq)
        return HelpNews(
            state=self._standing.told(metadata),
            at=metadata.get("at"),
            open=metadata.get("open") != "false",
            opens_at=metadata.get("opens_at"),
            email=metadata.get("email"),
            content=content,
            seq=seq,
        )

    def _loading(self, frame: Frame) -> Iterator[Event]:
        if self.running != frame.message_id:
            self._answer = _Growing(frame.message_id)
            yield Loading(frame.message_id, frame.metadata.get("replaces"))

    def _piece(self, frame: Frame) -> Iterator[Event]:
        if self._answer is None or self._answer.id != frame.message_id:
            self._answer = _Growing(frame.message_id)
        yield from self._answer.add(frame.content)

    def _done(self, frame: Frame) -> Iterator[Event]:
        """The end of a streamed answer, or an answer given whole, which replaces what was streamed."""
        answer = self._answer if self.running == frame.message_id else None
        if answer is None:
            yield _answer(frame, frame.content)
            return
        if frame.metadata.get("streaming") != "true":
            answer.clear()
        yield from answer.add(frame.content)
        self._answer = None
        yield _answer(frame, answer.text)


def _change(own: Command) -> dict[str, str] | None:
    """The metadata of the notification that a command is stored as."""
    match own.type:
        case "model_select":
            return {"event": "model_changed", "model_id": own.model_id or ""}
        case "help_request":
            return {"event": "help_state", "state": "asked", **own.metadata}
        case "help_cancel":
            return {"event": "help_state", "state": "none"}
        case _:
            return None


def _staff_name(metadata: dict[str, str]) -> str:
    return metadata.get("admin_name", "")


def _is_piece(frame: Frame) -> bool:
    return frame.type == "ai_response" and frame.metadata.get("done") == "false"


def _message(frame: Frame, *, own: bool) -> Message:
    return Message(
        message_id=frame.message_id,
        seq=frame.seq or 0,
        sender=frame.sender,
        content=frame.content,
        own=own,
        timestamp=frame.timestamp,
        model_id=frame.model_id,
        file_id=frame.file_id,
        file_url=frame.file_url,
        metadata=frame.metadata | ({"voice": "true"} if frame.type == "voice_message" else {}),
    )


def _answer(frame: Frame, content: str) -> Answer:
    tokens = frame.metadata.get("tokens", "")
    return Answer(
        message_id=frame.message_id,
        seq=frame.seq or 0,
        content=content,
        finish_reason=frame.metadata.get("finish_reason", "stop"),
        tokens=int(tokens) if tokens.isdecimal() else 0,
        replaces=frame.metadata.get("replaces"),
        superseded=frame.metadata.get("superseded") == "true",
        timestamp=frame.timestamp,
        model_id=frame.model_id,
        metadata=frame.metadata,
    )
