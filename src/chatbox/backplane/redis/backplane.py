"""The backplane of many replicas: one channel a process for what it wants to hear, logs and leases in Redis.

The publisher's own receiver is told when Redis has replied, in the order of the replies, the others by message. While
Redis is away, the own receiver is told at once, and the others find out when it is back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from types import TracebackType
from typing import Self

import structlog

from chatbox.backplane.base import (
    Backplane,
    Behind,
    Grant,
    Joined,
    Piece,
    Published,
    Receiver,
    Removed,
    Running,
    Signal,
    Stored,
    Turn,
)
from chatbox.backplane.redis.codec import Codec
from chatbox.backplane.redis.inbox import Inbox
from chatbox.backplane.redis.leases import Hold, Leases
from chatbox.backplane.redis.line import Address, Line, Reply, Timing, answer, chunks, ms
from chatbox.backplane.redis.link import Link
from chatbox.backplane.redis.listening import Listening
from chatbox.backplane.redis.scripts import BEGIN, ENTRY, KNOWN, PUSH, TELL, Keys
from chatbox.errors import BackplaneDown, Fenced
from chatbox.keyring import Keyring
from chatbox.session import STEP, new_id
from chatbox.tasks import Tasks

log = structlog.get_logger(component="backplane")

BIGGEST = (1 << 16) - 1024
"""Bytes of a body that a channel carries. Of what is bigger, the others are told the position."""
MISSED = 10_000
"""Sessions whose news is remembered while Redis is away. Of more, the others learn by what comes next."""


class RedisBackplane(Backplane):
    """``node`` must be new in every process: two with the same one would hold each other's leases."""

    def __init__(self, url: str, keyring: Keyring, *, node: str | None = None, timing: Timing | None = None) -> None:
        self._node = node or new_id()
        self._timing = timing = timing or Timing()
        self._address = Address(url, timing)
        self._codec = Codec(keyring)
        self._tasks = Tasks()
        self._link = Link(self._address, timing, self._greet, self._risen)
        self._listening = Listening(self._link, self._node, timing)
        self._leases = Leases(self._link, self._codec, self._node, timing)
        self._inbox = Inbox(self._address, self._link, self._node, timing, self._hear, self._listening.doubt)
        self._missed: dict[str, int] = {}

    def connect(self, receiver: Receiver) -> None:
        self._listening.receiver = receiver

    async def listen(self, session_id: str) -> None:
        await self._listening.add(session_id)

    async def ignore(self, session_id: str) -> None:
        await self._listening.remove(session_id)

    async def publish(self, session_id: str, event: Published) -> None:
        if isinstance(event, Stored):
            await self._publish_entry(session_id, event)
        else:
            await self._publish_other(session_id, event)

    async def acquire(self, session_id: str, answer_id: str) -> Grant | None:
        return await self._leases.acquire(session_id, answer_id)

    async def begin(self, session_id: str, turn: Turn) -> None:
        with suppress(Fenced):
            await self._begin(self._leases.of(session_id, turn.answer_id), turn)

    async def push(self, session_id: str, answer_id: str, text: str) -> None:
        hold = self._leases.of(session_id, answer_id)
        if hold.turn is None:
            raise Fenced("the answer has not begun")
        if hold.torn or not self._link.up:
            self._push_here(hold, text)
        else:
            await self._push(hold, text)

    async def finish(self, session_id: str, answer_id: str, *, stored: bool = True) -> None:
        await self._leases.finish(session_id, answer_id, stored=stored)

    async def running(self, session_id: str, known: int) -> Running | None:
        hold, keys = self._leases.get(session_id), Keys.of(session_id)
        own = hold is not None and hold.running is not None

        def read(reply: Reply) -> list[bytes] | Running | None:
            if hold:
                hold.pass_by(known)
            if own or isinstance(reply, BackplaneDown):
                return hold.running if hold else None
            return list(reply)

        command = KNOWN.call((keys.at, keys.log), known * STEP, ms(self._timing.keep), 0 if own else 1)
        found = await self._link.send(command, read)
        return await self._read(session_id, found) if isinstance(found, list) else found

    async def check(self) -> None:
        await self._link.send(self._leases.age(), answer)
        if not self._inbox.up:
            raise self._inbox.down

    async def __aenter__(self) -> Self:
        try:
            await self._link.open()
            for work, name in self._work():
                self._tasks.keep(work, name)
            await self._inbox.open()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(TimeoutError, BackplaneDown):
            async with asyncio.timeout(self._timing.patience):
                await self._leases.release()
                await self._listening.leave()
        await self._close()

    async def _close(self) -> None:
        await self._tasks.__aexit__(None, None, None)
        await self._link.close()

    def _work(self) -> tuple[tuple[Callable[[], Coroutine[None, None, None]], str], ...]:
        return (
            (self._link.keep, "line to Redis"),
            (self._inbox.keep, "messages of other replicas"),
            (self._inbox.probe, "probe"),
            (self._leases.keep, "leases"),
            (self._leases.mend, "answers that Redis lacks"),
            (self._keep_telling, "news that could not be told"),
            (self._listening.pulse, "pulse"),
            (self._listening.beacon, "beacon"),
            (self._listening.keep_doubting, "doubt"),
        )

    # -- what happens here ---------------------------------------------------------------------------------------------

    async def _publish_entry(self, session_id: str, event: Stored) -> None:
        entry, keys = event.entry, Keys.of(session_id)
        sealed = self._codec.entry(session_id, event)

        def published(reply: Reply) -> None:
            hold = self._leases.get(session_id)
            if hold:
                hold.pass_by(entry.index)
            if isinstance(reply, BackplaneDown):
                self._miss(session_id, entry.seq)
                after = hold.newest_piece if hold else 0
            else:
                after = int(reply)
            self._listening.tell(session_id, Stored(entry, after))

        body = sealed if len(sealed) <= BIGGEST else ""
        command = ENTRY.call(
            (keys.nodes, keys.at, keys.log), self._node, f"{session_id}\n", entry.seq, ms(self._timing.keep), body
        )
        await self._link.send(command, published)

    async def _publish_other(self, session_id: str, event: Signal | Joined | Removed) -> None:
        message = self._codec.message(session_id, event)
        if len(message) > BIGGEST:
            log.warning("a frame is too big for the other replicas", session=session_id, size=len(message))
            message = f"b{session_id}\n"

        def published(reply: Reply) -> None:
            if isinstance(reply, BackplaneDown) and isinstance(event, Removed):
                self._miss(session_id, 0)
            self._listening.tell(session_id, event)

        await self._link.send(TELL.call((Keys.of(session_id).nodes,), self._node, message), published)

    async def _begin(self, hold: Hold, turn: Turn) -> None:
        session_id, row = hold.session_id, self._codec.turn(hold.session_id, turn)

        def begun(reply: Reply) -> None:
            if reply == 0:
                hold.lose()
                return
            hold.begin(turn)
            if isinstance(reply, BackplaneDown) or reply < 0:
                self._tear(hold)
            else:
                hold.seq = max(hold.seq, reply)
            self._listening.tell(session_id, turn)

        keep = ms(self._timing.keep)
        command = BEGIN.call(
            hold.keys.all, self._node, f"{session_id}\n", self._leases.holder(hold.answer_id), turn.seq, keep, row
        )
        await self._link.send(command, begun)

    async def _push(self, hold: Hold, text: str) -> None:
        session_id, answer_id = hold.session_id, hold.answer_id

        def pushed(reply: Reply) -> None:
            if reply == 0:
                hold.lose()
                raise Fenced("another replica has the lease")
            if isinstance(reply, BackplaneDown) or reply < 0:
                self._tear(hold)
                self._push_here(hold, text)
            else:
                self._listening.tell(session_id, hold.add(text, reply))

        await self._link.send(
            PUSH.call(
                hold.keys.all,
                self._node,
                f"{session_id}\n",
                self._leases.holder(hold.answer_id),
                hold.seq,
                ms(self._timing.keep),
                f"{answer_id}\n",
                self._codec.text(session_id, answer_id, text),
                BIGGEST,
            ),
            pushed,
        )

    def _push_here(self, hold: Hold, text: str) -> None:
        """While Redis lacks something of the answer, its pieces are told here only, and put back later."""
        hold.check()
        self._listening.tell(hold.session_id, hold.add(text))

    def _tear(self, hold: Hold) -> None:
        hold.torn = True
        self._leases.renew(hold)

    # -- what happens elsewhere ----------------------------------------------------------------------------------------

    def _hear(self, message: bytes) -> None:
        heard = self._codec.read(message)
        if heard is None:
            return
        session_id, event = heard
        if event == Behind():
            self._listening.missed(session_id)
            return
        if isinstance(event, Stored) and (hold := self._leases.get(session_id)):
            hold.pass_by(event.entry.index)
        self._listening.tell(session_id, event)

    async def _read(self, session_id: str, rows: list[bytes]) -> Running | None:
        """An answer from its log; a long one takes several turns of the loop."""
        turn = self._codec.begun(session_id, rows)
        if turn is None:
            return None
        pieces: list[Piece] = []
        for chunk in chunks(rows[1:]):
            pieces += self._codec.pieces(session_id, turn.answer_id, chunk)
            await asyncio.sleep(0)
        return Running(turn, tuple(pieces))

    # -- outages -------------------------------------------------------------------------------------------------------

    async def _greet(self, line: Line) -> None:
        await self._leases.greet(line)
        await self._listening.greet(line)

    def _risen(self) -> None:
        self._leases.risen()
        self._listening.risen()
        self._tell_missed()

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(self._timing.beacon)
            if self._link.up:
                self._tell_missed()

    def _tell_missed(self) -> None:
        missed, self._missed = self._missed, {}
        for session_id, position in missed.items():
            self._tell_late(session_id, position)

    def _miss(self, session_id: str, position: int) -> None:
        """The others have missed something of this session."""
        if session_id in self._missed or len(self._missed) < MISSED:
            self._missed[session_id] = max(position, self._missed.get(session_id, 0))

    def _tell_late(self, session_id: str, position: int) -> None:
        keys, keep = Keys.of(session_id), ms(self._timing.keep)

        def told(reply: Reply) -> None:
            if isinstance(reply, BackplaneDown):
                self._miss(session_id, position)

        if position:
            command = ENTRY.call((keys.nodes, keys.at, keys.log), self._node, f"{session_id}\n", position, keep, "")
        else:
            command = TELL.call((keys.nodes,), self._node, f"b{session_id}\n")
        self._link.send(command, told)
