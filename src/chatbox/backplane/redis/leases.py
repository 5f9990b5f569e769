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
UNFINISHED = 10_000
"""Ends of answers that are remembered while Redis is away. Of more, Redis forgets the answers by itself."""
REMEMBERED = 86_400.0
"""Seconds for which it is remembered since when Redis has had its data, with nobody there."""


class Hold:
    """A lease held here. ``until`` is when it lapses (monotonic s), ``seq`` the newest position known.

    ``torn``: Redis lacks something of it, or can't be reached; positions are given here. ``lost``: it is not ours.
    ``alone``: it was granted while Redis was away.
    """

    __slots__ = ("alone", "answer_id", "keys", "lost", "pieces", "seq", "session_id", "torn", "turn", "until")

    def __init__(self, session_id: str, answer_id: str) -> None:
        self.session_id = session_id
        self.answer_id = answer_id
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

    def has(self, rows: int, last: int) -> bool:
        """Whether so many rows of a log, with that newest piece, are how this answer began."""
        pieces = rows - 1
        return pieces == 0 or (0 < pieces <= len(self.pieces) and self.pieces[pieces - 1].seq == last)

    def is_all(self, rows: int, last: int) -> bool:
        return self.turn is None or (rows == len(self.pieces) + 1 and self.has(rows, last))

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
        self._torn: dict[Hold, int] = {}  # what has to be put back, and the rows of it that Redis has
        self._unfinished: dict[str, tuple[str, bool]] = {}  # what ended while Redis was away
        self._work = asyncio.Event()
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

    def holder(self, answer_id: str) -> str:
        """Who holds an answer's lease, as Redis is told on the present line."""
        return f"{answer_id} {self._node} {self._link.number}"

    async def acquire(self, session_id: str, answer_id: str) -> Grant | None:
        held, sent = self._held.get(session_id), time.monotonic()
        again = held is not None and held.answer_id == answer_id and not held.lost
        hold = held if held and again else Hold(session_id, answer_id)

        def acquired(reply: Reply) -> Grant | None:
            if isinstance(reply, BackplaneDown):
                return self._grant_alone(hold)
            if reply == 0:
                hold.lost = True
                return None
            self._held[session_id] = hold
            hold.until = sent + self._life
            return Grant.SURE if time.monotonic() >= self._sure_from else Grant.ALONE

        command = ACQUIRE.call((hold.keys.lease,), self.holder(answer_id), ms(self._timing.lease))
        return await self._link.send(command, acquired)

    async def finish(self, session_id: str, answer_id: str, *, stored: bool) -> None:
        hold = self._held.get(session_id)
        if hold and hold.answer_id == answer_id:
            del self._held[session_id]
        await self._finish(session_id, answer_id, stored)

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
        unfinished, self._unfinished = self._unfinished, {}
        for session_id, (answer_id, stored) in unfinished.items():
            self._finish(session_id, answer_id, stored)

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
            status, rows, last = reply[0], reply[1], int(reply[2])
            if status == 0 or (status < 0 and sent >= hold.until):
                hold.lose()
                return
            if status > 0:
                hold.until, hold.alone = sent + self._life, False
            if status < 0 or hold.torn or not hold.is_all(rows, last):
                self._tear(hold, rows if hold.has(rows, last) else 0)

        keys, timing, holder = hold.keys, self._timing, self.holder(hold.answer_id)
        lives = ms(timing.lease), ms(timing.keep)
        self._link.send(RENEW.call((keys.at, keys.log, keys.lease), holder, *lives, hold.answer_id), renewed)

    def _tear(self, hold: Hold, rows: int) -> None:
        hold.torn = True
        self._torn[hold] = rows
        self._work.set()

    async def mend(self) -> None:
        """Put back what Redis lacks, one answer a turn of the loop, until cancelled."""
        while True:
            await self._work.wait()
            self._work.clear()
            torn, self._torn = self._torn, {}
            for hold, rows in torn.items():
                if self._held.get(hold.session_id) is hold and not hold.lost:
                    self._mend(hold, rows)
                await asyncio.sleep(0)

    def _mend(self, hold: Hold, kept: int) -> None:
        """Put the answer's rows behind those that Redis has. What is pushed from now on comes behind them."""
        timing, sent = self._timing, time.monotonic()

        def mended(reply: Reply) -> None:
            if isinstance(reply, BackplaneDown):
                hold.torn = True
            elif reply == 0:
                hold.lose()
            else:
                hold.until, hold.alone = sent + self._life, False
                if reply < 0:
                    self.renew(hold)

        hold.torn = False
        lives = ms(timing.lease), ms(timing.keep)
        rows = self._rows(hold, kept)
        names = self._node, f"{hold.session_id}\n", self.holder(hold.answer_id)
        self._link.send(MEND.call(hold.keys.all, *names, *lives, hold.seq, kept, *rows), mended)

    def _rows(self, hold: Hold, kept: int) -> list[str]:
        """The rows of an answer's log from the one at ``kept`` on."""
        if hold.turn is None:
            return []
        head = [] if kept else [self._codec.turn(hold.session_id, hold.turn)]
        return head + [self._codec.piece(hold.session_id, piece) for piece in hold.pieces[max(kept - 1, 0) :]]

    def _finish(self, session_id: str, answer_id: str, stored: bool) -> asyncio.Future[None]:
        def finished(reply: Reply) -> None:
            if isinstance(reply, BackplaneDown) and len(self._unfinished) < UNFINISHED:
                self._unfinished[session_id] = answer_id, stored

        keys = Keys.of(session_id)
        command = FINISH.call((keys.log, keys.lease), self.holder(answer_id), answer_id if stored else "")
        return self._link.send(command, finished)

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
