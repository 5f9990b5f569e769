"""Who listens to which session: the rooms of this process, and how a socket comes into one.

To attach is to get a snapshot followed by live events, without a gap or a double.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Literal

import msgspec
import structlog

from chatbox import turn
from chatbox.backplane.base import Backplane, Event, Removed
from chatbox.errors import NotFound, StorageError
from chatbox.protocol import Frame
from chatbox.room import Listener, Room
from chatbox.session import STEP, VISIBLE, Entry, Session
from chatbox.storage.base import Storage
from chatbox.tasks import Tasks

log = structlog.get_logger(component="hub")

PAGE = 500
MAX_REPLAY_ENTRIES = 500
MAX_REPLAY_BYTES = 1 << 20
TRY_AGAIN = 1.0


class Position(msgspec.Struct, frozen=True):
    """Where a client says it is."""

    epoch: str
    seq: int


Refused = Literal["epoch", "too_far", "unknown"]


class Replay(msgspec.Struct, frozen=True):
    """What a client that attaches gets: its position, whether it goes on from there, and if not, why."""

    seq: int
    resumed: bool
    reason: Refused | None = None


class Hub:
    """The rooms of this process. Attaching is a snapshot followed by live events, without a gap or a double."""

    def __init__(self, storage: Storage, backplane: Backplane, tasks: Tasks) -> None:
        self._storage = storage
        self._backplane = backplane
        self._tasks = tasks
        self._rooms: dict[str, Room] = {}
        self._opening: dict[str, asyncio.Task[Room]] = {}
        self._topics: dict[str, Callable[[Event], None]] = {}
        self._follow: Callable[[Entry], None] = _nobody
        backplane.connect(self._receive)

    def __len__(self) -> int:
        return len(self._rooms)

    @property
    def active(self) -> int:
        """Sessions that someone listens to or that are being answered."""
        return sum(1 for room in self._rooms.values() if room.listeners or room.answer)

    def room(self, session_id: str) -> Room | None:
        """The session's room, if this process has one."""
        return self._rooms.get(session_id)

    def rooms(self) -> list[Room]:
        """All rooms of this process."""
        return list(self._rooms.values())

    def follow(self, follower: Callable[[Entry], None]) -> None:
        """Give each entry that passes in any room to this one follower."""
        self._follow = follower

    async def subscribe(self, topic: str, receiver: Callable[[Event], None]) -> None:
        """From the return on, give what replicas publish under a topic to this receiver. A topic is no session's id; it
        has no log, so that after ``Behind`` its receiver has to find out by itself what it missed."""
        self._topics[topic] = receiver
        await self._backplane.listen(topic)

    async def open(self, session_id: str) -> Room:
        """The session's room, made if need be. Raises ``NotFound``, ``StorageError``."""
        opening = self._opening.get(session_id)
        if opening is None:
            if room := self._rooms.get(session_id):
                return room
            opening = self._opening[session_id] = self._tasks.start(self._make_room(session_id), "room")
            opening.add_done_callback(lambda _: self._opening.pop(session_id, None))
        return await asyncio.shield(opening)

    async def attach(
        self,
        session: Session,
        listener: Listener,
        at: Position | Refused | None,
        greet: Callable[[Session, Replay], Frame],
    ) -> None:
        """Send what the client missed, then everything that comes. ``greet`` makes the first frame, of a session that
        is as new as the position that it names.

        ``at`` None: the client has nothing and asks for nothing. A reason instead: its position can't be used.
        Raises ``NotFound`` when the session was deleted meanwhile, ``StorageError``.
        """
        while True:
            room = await self.open(session.id)
            if session.last_index > room.index:
                await self._catch_up(room)
            replay, missed = await self._replay(room, session, at)
            if self._rooms.get(session.id) is room and room.index <= session.last_index:
                break
            session = await self._current(session.id)
        listener.send(greet(session, replay))
        room.join(listener, replay.seq, missed)

    def leave(self, session_id: str, listener: Listener) -> None:
        """The socket is gone. Its room stays for a while, for those who come back."""
        room = self._rooms.get(session_id)
        if room:
            room.leave(listener)

    def idle(self, seconds: float) -> list[str]:
        """Sessions that nobody has listened to for so long and that have no running answer."""
        limit = time.monotonic() - seconds
        return [room.session_id for room in self._rooms.values() if _empty(room) and room.left_at <= limit]

    async def evict(self, session_id: str) -> None:
        """Forget the room, unless someone has come back."""
        room = self._rooms.get(session_id)
        if room and _empty(room):
            await self.forget(session_id)

    async def forget(self, session_id: str) -> None:
        """Drop the room, whatever it holds."""
        if self._rooms.pop(session_id, None):
            await self._backplane.ignore(session_id)

    async def _current(self, session_id: str) -> Session:
        session = await self._storage.get(session_id)
        if session is None:
            raise NotFound("The session does not exist.")
        return session

    # -- opening a room ------------------------------------------------------------------------------------------------

    async def _make_room(self, session_id: str) -> Room:
        """The room is registered before anything is read, so that it hears of all that happens meanwhile."""
        room = self._rooms[session_id] = Room(session_id, self._fill, self._passed)
        try:
            await self._backplane.listen(session_id)
            room.start(await self._current(session_id))
            await self._catch_up(room)
        except BaseException:
            await self.forget(session_id)
            raise
        return room

    # -- what a client missed ------------------------------------------------------------------------------------------

    async def _replay(self, room: Room, session: Session, at: Position | Refused | None) -> tuple[Replay, list[Entry]]:
        """Where the client goes on, and the entries from there to where the room is at this very moment."""
        if isinstance(at, Position):
            missed = await self._missed(room, session, at)
            if isinstance(missed, list):
                return Replay(at.seq, True), missed
            at = missed
        while True:
            answer = room.answer
            if answer is None:
                return Replay(room.position, False, at), []
            missed = await self._entries(room, answer.turn.index)
            if room.answer is answer:
                return Replay(answer.turn.seq, False, at), missed

    async def _missed(self, room: Room, session: Session, at: Position) -> list[Entry] | Refused:
        if at.epoch != session.epoch:
            return "epoch"
        if at.seq > room.position:
            await self._catch_up(room)
        if at.seq > room.position:
            return "unknown"
        if room.index - at.seq // STEP > 4 * MAX_REPLAY_ENTRIES:
            return "too_far"
        missed = await self._entries(room, at.seq // STEP)
        return "too_far" if _too_far(missed) else missed

    async def _entries(self, room: Room, after: int) -> list[Entry]:
        """The log from ``after`` to where the room is; it may move on while this reads."""
        found: list[Entry] = []
        while after < room.index:
            found += await self._storage.read(room.session_id, after=after, limit=PAGE)
            if not found or found[-1].index == after:
                raise NotFound("The session does not exist.")
            after = found[-1].index
        return [entry for entry in found if entry.index <= room.index]

    # -- events --------------------------------------------------------------------------------------------------------

    def _receive(self, session_id: str, event: Event) -> None:
        if topic := self._topics.get(session_id):
            topic(event)
        room = self._rooms.get(session_id)
        if room:
            room.receive(event)
        if room and isinstance(event, Removed):
            del self._rooms[session_id]
            self._tasks.start(self._backplane.ignore(session_id), "removed")

    def _passed(self, entry: Entry) -> None:
        self._follow(entry)

    def _fill(self, room: Room) -> None:
        self._tasks.start(self._mend(room), "fill a gap")

    async def _mend(self, room: Room) -> None:
        """Fill the gap; whatever it is that fails, try again: a room that waits for ever hears nothing."""
        if self._rooms.get(room.session_id) is not room:
            return
        try:
            await self._catch_up(room)
        except Exception as error:
            self._tasks.start(self._mend_later(room), "fill a gap")
            if not isinstance(error, StorageError):
                raise
            log.warning("a gap can't be filled yet", session=room.session_id, error=str(error))

    async def _mend_later(self, room: Room) -> None:
        await asyncio.sleep(TRY_AGAIN)
        await self._mend(room)

    async def _catch_up(self, room: Room) -> None:
        """Bring a room up to the store's end. The log is read first: the running answer then covers all before that. If
        the answer that is open there does not run any more, the log may have its end by now."""
        entries = await self._after(room, room.index)
        while True:
            known = entries[-1].index if entries else room.index
            running = await self._backplane.running(room.session_id, known)
            open_answer = turn.still_open(room.owing.open_answer, entries)
            if open_answer is None or (running and running.turn.answer_id == open_answer):
                break
            if not (more := await self._after(room, known)):
                break
            entries += more
        room.merge(entries, running)

    async def _after(self, room: Room, known: int) -> list[Entry]:
        """The log beyond an entry."""
        found: list[Entry] = []
        while more := await self._storage.read(room.session_id, after=known, limit=PAGE):
            found += more
            known = more[-1].index
        return found


def _empty(room: Room) -> bool:
    return not room.listeners and room.answer is None and room.owing.open_answer is None


def _nobody(entry: Entry) -> None:
    """The follower before ``follow``."""


def _too_far(entries: list[Entry]) -> bool:
    shown = [entry for entry in entries if entry.kind in VISIBLE]
    return len(shown) > MAX_REPLAY_ENTRIES or sum(len(e.content.encode()) for e in shown) > MAX_REPLAY_BYTES
