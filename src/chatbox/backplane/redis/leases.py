"""The leases that this node holds, and the running answers under them.

A lease is renewed three times in its life. As long as that goes well, and a little less than a life longer, it is this
node's, which can be known here without asking: by the monotonic clock, from when the last renewal that worked was
*sent*. Redis itself compares the holder at every piece. A lease that was granted while Redis was away is kept by
renewals that only look at the clock: a process that was stopped finds its lease lapsed.

What Redis has lost of an answer, or never got, is put back (``mend``) as soon as it answers: this node has all pieces.
"""

from __future__ import annotations

import asyncio
import time
from itertools import takewhile

import structlog

from chatbox.backplane.base import Grant, Piece, Running, Turn
from chatbox.backplane.redis.codec import Codec
from chatbox.backplane.redis.line import Line, Reply, Timing, answer, ms
from chatbox.backplane.redis.link import Link
from chatbox.backplane.redis.scripts import ACQUIRE, AGE, BORN, FINISH, MEND, RENEW, Argument, Keys
from chatbox.errors import BackplaneDown, Fenced
from chatbox.session import STEP

log = structlog.get_logger(component="backplane")

RENEWALS = 3
MARGIN = 0.1
"""Share of a lease's life by which this node's clock may be wrong."""
REMEMBERED = 86_400.0
"""Seconds for which it is remembered since when Redis has had its data, with nobody there."""


class Hold:
    """A lease held here. ``until`` is when it lapses (monotonic s), ``seq`` the newest position known.

    ``torn``: Redis lacks something of it, or can't be reached; positions are given here. ``lost``: it is not ours.
    ``alone``: it was granted while Redis was away.
    """

    __slots__ = ("alone", "answer_id", "holder", "keys", "lost", "pieces", "seq", "session_id", "torn", "turn", "until")

    def __init__(self, session_id: str, answer_id: str, node: str) -> None:
        self.session_id = session_id
        self.answer_id = answer_id
        self.holder = f"{answer_id} {node}"
        self.keys = Keys.of(session_id)
        self.until = 0.0
        self.alone = self.torn = self.lost = False
        self.turn: Turn | None = None
        self.pieces: list[Piece] = []
        self.seq = 0

    def begin(self, turn: Turn) -> None:
        self.turn, self.pieces = turn, []
        self.seq = max(self.seq, turn.seq)

    def check(self) -> None:
        """Raises ``Fenced`` unless this lease is surely held. Once lapsed, it does not come back."""
        self.lost = self.lost or time.monotonic() >= self.until
        if self.lost:
            raise Fenced("the lease has run out, or another replica has it")

    def lose(self) -> None:
        self.lost = True
        log.warning("a lease is lost", session=self.session_id, answer=self.answer_id)

    def add(self, text: str, seq: int = 0) -> Piece:
        """The next piece, at the position that Redis gave it, or else at the next one."""
        self.seq = max(self.seq, seq or self.seq + 1)
        piece = Piece(self.answer_id, seq or self.seq, text)
        self.pieces.append(piece)
        return piece

    def pass_by(self, index: int) -> None:
        self.seq = max(self.seq, index * STEP)

    @property
    def newest_piece(self) -> int:
        return self.pieces[-1].seq if self.pieces else 0

    @property
    def running(self) -> Running | None:
        return Running(self.turn, tuple(self.pieces)) if self.turn and not self.lost else None


class Leases:
    """At most one a session."""

    def __init__(self, link: Link, codec: Codec, node: str, timing: Timing) -> None:
        self._link = link
        self._codec = codec
        self._node = node
        self._timing = timing
        self._life = timing.lease * (1 - MARGIN)
        self._held: dict[str, Hold] = {}
        self._sure_from = 0.0
        self._risen = False

    def get(self, session_id: str) -> Hold | None:
        return self._held.get(session_id)

    def of(self, session_id: str, answer_id: str) -> Hold:
        """The lease of an answer. Raises ``Fenced``."""
        hold = self._held.get(session_id)
        if hold is None or hold.answer_id != answer_id or hold.lost:
            raise Fenced("the answer has no lease: it is over, or another replica has it")
        return hold

    async def acquire(self, session_id: str, answer_id: str) -> Grant | None:
        held, sent = self._held.get(session_id), time.monotonic()
        again = held is not None and held.answer_id == answer_id and not held.lost
        hold = held if held and again else Hold(session_id, answer_id, self._node)

        def acquired(reply: Reply) -> Grant | None:
            if isinstance(reply, BackplaneDown):
                return self._grant_alone(hold)
            if reply == 0:
                hold.lost = True
                return None
            self._held[session_id] = hold
            hold.until = sent + self._life
            return Grant.SURE if time.monotonic() >= self._sure_from else Grant.ALONE

        command = ACQUIRE.call((hold.keys.lease,), hold.holder, ms(self._timing.lease))
        return await self._link.send(command, acquired)

    async def finish(self, session_id: str, answer_id: str, *, stored: bool) -> None:
        hold = self._held.get(session_id)
        if hold and hold.answer_id == answer_id:
            del self._held[session_id]
        keys, holder = Keys.of(session_id), f"{answer_id} {self._node}"
        await self._link.send(FINISH.call((keys.log, keys.lease), holder, answer_id if stored else ""), _whatever)

    async def release(self) -> None:
        """Give up all leases; what was begun stays to be seen."""
        for hold in list(self._held.values()):
            await self.finish(hold.session_id, hold.answer_id, stored=False)

    async def greet(self, line: Line) -> None:
        """Learn on a new line how old this Redis's data are. Raises ``BackplaneDown``."""
        self._learn_age(await line.send(self.age(), answer))

    def risen(self) -> None:
        """The link is up. After an outage, whoever else holds a lease gets the time to renew it."""
        if self._risen:
            self._sure_from = time.monotonic() + self._timing.lease
        self._risen = True
        self.renew_all()

    async def keep(self) -> None:
        """Renew the leases, until cancelled."""
        while True:
            await asyncio.sleep(self._timing.lease / RENEWALS)
            self._link.send(self.age(), self._learn_age)
            self.renew_all()

    def renew_all(self) -> None:
        for hold in list(self._held.values()):
            self.renew(hold)

    def renew(self, hold: Hold) -> None:
        """Renew a lease, and put back what Redis lacks of its answer."""
        sent = time.monotonic()

        def renewed(reply: Reply) -> None:
            if self._held.get(hold.session_id) is not hold or hold.lost:
                return
            if isinstance(reply, BackplaneDown):
                self._renew_alone(hold)
                return
            status, last = reply[0], int(reply[1])
            if status == 0 or (status < 0 and sent >= hold.until):
                hold.lose()
                return
            if status > 0:
                hold.until, hold.alone = sent + self._life, False
            if status < 0 or hold.torn or (hold.turn and last != hold.newest_piece):
                self._mend(hold, last)

        keys, timing = hold.keys, self._timing
        command = RENEW.call((keys.at, keys.log, keys.lease), hold.holder, ms(timing.lease), ms(timing.keep))
        self._link.send(command, renewed)

    def _mend(self, hold: Hold, last: int) -> None:
        """``last`` is the newest piece that Redis has. What is pushed from now on comes behind what is put back."""
        timing, sent = self._timing, time.monotonic()
        missing = list(takewhile(lambda piece: piece.seq > last, reversed(hold.pieces)))
        rows = [self._codec.piece(hold.session_id, piece) for piece in reversed(missing)]

        def mended(reply: Reply) -> None:
            if isinstance(reply, BackplaneDown):
                hold.torn = True
            elif reply == 0:
                hold.lose()
            else:
                hold.until, hold.alone = sent + self._life, False

        turn = self._codec.turn(hold.session_id, hold.turn) if hold.turn else ""
        hold.torn = False
        lives = ms(timing.lease), ms(timing.keep)
        command = MEND.call(
            hold.keys.all, self._node, f"{hold.session_id}\n", hold.holder, *lives, hold.seq, turn, *rows
        )
        self._link.send(command, mended)

    def _grant_alone(self, hold: Hold) -> Grant | None:
        held = self._held.get(hold.session_id)
        if held is hold:
            return Grant.ALONE
        if held and not held.lost and time.monotonic() < held.until:
            return None
        hold.alone = hold.torn = True
        hold.until = time.monotonic() + self._life
        self._held[hold.session_id] = hold
        return Grant.ALONE

    def _renew_alone(self, hold: Hold) -> None:
        now = time.monotonic()
        if hold.alone and now < hold.until:
            hold.until = now + self._life

    def age(self) -> tuple[Argument, ...]:
        """The command that asks how old Redis's data are. It writes, so that it shows whether Redis can."""
        return AGE.call((BORN,), ms(REMEMBERED))

    def _learn_age(self, reply: Reply) -> None:
        """Leases may be missing from data younger than a lease's life, though their holders are alive."""
        if not isinstance(reply, BackplaneDown):
            self._sure_from = max(self._sure_from, time.monotonic() + self._timing.lease - reply / 1000)


def _whatever(reply: Reply) -> None:
    """The reply does not matter."""
