"""Who is refused although their token is good: users whose tokens were revoked, and blocked ones.

What stands against a user is a record in the store. Each replica has all of them in memory, so that to ask costs
nothing; it hears of news through the backplane and looks for them every ``POLL`` seconds besides. So they are in force
on every replica within that time, whether or not the others can be reached.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import msgspec
import structlog

from chatbox.auth import Authenticator
from chatbox.backplane.base import Backplane, Event, Signal
from chatbox.errors import Forbidden, InvalidToken, StorageError
from chatbox.hub import Hub
from chatbox.session import ADMIN, Principal, now_ms
from chatbox.storage.records import Record, Records

log = structlog.get_logger(component="access")

KIND = "standing"
TOPIC = "*access"
POLL = 2.0
"""Seconds between two looks for news."""
WHOLE = 60.0
"""Seconds between two looks at everything, for news that were written with a clock far behind."""
OVERLAP = 60_000
"""News are looked for so many ms further back than the newest one known: they may become visible out of order."""
PAGE = 1000

REVOKED = "The token was revoked; ask the app that you came from for a new one."
BLOCKED = "This account is blocked. Ask the operator of this chat."


class Block(msgspec.Struct, frozen=True, kw_only=True):
    """A user is kept out from ``at`` on, until ``until`` (Unix ms; None: until it is lifted). ``by_admin``: who did it
    had the role ``admin``; only then it holds against that role."""

    by: str
    by_name: str
    at: int
    until: int | None = None
    reason: str = ""
    by_admin: bool = False


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """What stands against a user: tokens issued up to ``revoked_before`` (Unix s) are void, and the block."""

    revoked_before: float | None = None
    block: Block | None = None


class Access:
    """What stands against whom. ``load`` comes before all else; ``watch`` keeps it new."""

    def __init__(self, records: Records, hub: Hub, backplane: Backplane) -> None:
        self._records = records
        self._hub = hub
        self._backplane = backplane
        self._standings: dict[str, tuple[int, Standing]] = {}
        self._newest = 0
        self._news = asyncio.Event()

    def check(self, who: Principal) -> None:
        """Raises ``InvalidToken`` when the token was revoked, ``Forbidden`` when its user is blocked."""
        _, standing = self._standings.get(who.user_id, NOTHING)
        before = standing.revoked_before
        if before is not None and (who.issued is None or who.issued <= before):
            raise InvalidToken(REVOKED)
        block = _in_force(standing)
        if block and (block.by_admin or ADMIN not in who.roles):
            raise Forbidden(BLOCKED)

    async def revoke(self, user_id: str, before: float) -> float:
        """Void the user's tokens that were issued up to ``before`` (Unix s), and those that do not say when. What was
        void stays so. Returns up to when they are void now. Raises ``StorageError``."""

        def revoked(standing: Standing) -> Standing:
            latest = before if standing.revoked_before is None else max(before, standing.revoked_before)
            return msgspec.structs.replace(standing, revoked_before=latest)

        return (await self._change(user_id, revoked)).revoked_before or before

    async def block(self, user_id: str, block: Block) -> None:
        """Keep a user out, in the place of a block that there is. Raises ``StorageError``."""
        await self._change(user_id, lambda standing: msgspec.structs.replace(standing, block=block))

    async def unblock(self, user_id: str) -> None:
        """Let a user in again; of one who is not blocked: nothing. Raises ``StorageError``."""
        if await self._records.get(KIND, user_id):
            await self._change(user_id, lambda standing: msgspec.structs.replace(standing, block=None))

    def blocks(self) -> list[tuple[str, Block]]:
        """The blocks in force with their users, newest first."""
        found = [(user_id, _in_force(standing)) for user_id, (_, standing) in self._standings.items()]
        return sorted([(u, b) for u, b in found if b], key=lambda one: (-one[1].at, one[0]))

    async def load(self) -> None:
        """Look at everything. Raises ``StorageError``."""
        await self._look(None)

    async def watch(self) -> None:
        """Look for news until cancelled: when the others tell of some, and from time to time."""
        await self._hub.subscribe(TOPIC, self._hear)
        whole_at = time.monotonic() + WHOLE
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL):
                    await self._news.wait()
            self._news.clear()
            whole = time.monotonic() >= whole_at
            try:
                await self._look(None if whole else self._newest - OVERLAP)
            except StorageError as error:
                log.warning("revocations and blocks can't be read now", error=str(error))
            else:
                whole_at = time.monotonic() + WHOLE if whole else whole_at

    def _hear(self, _event: Event) -> None:
        self._news.set()

    async def _look(self, since: int | None) -> None:
        newest = self._newest
        async for record in self._find(since):
            self._take(record)
            newest = max(newest, record.at)
        self._newest = newest

    async def _find(self, since: int | None) -> AsyncIterator[Record]:
        before: tuple[int, str] | None = None
        while found := await self._records.find(KIND, since=since, before=before, limit=PAGE):
            for record in found:
                yield record
            before = found[-1].at, found[-1].id

    def _take(self, record: Record) -> None:
        """A list may lag behind what is known already."""
        version, _ = self._standings.get(record.id, NOTHING)
        if record.version > version or record.id not in self._standings:
            self._standings[record.id] = record.version, _standing(record)

    async def _change(self, user_id: str, change: Callable[[Standing], Standing]) -> Standing:
        while True:
            old = await self._records.get(KIND, user_id)
            new = change(_standing(old) if old else Standing())
            record = Record(
                kind=KIND,
                id=user_id,
                at=await self._next_time(),
                version=old.version if old else 0,
                data=msgspec.to_builtins(new),
            )
            if await (self._records.replace(record) if old else self._records.add(record)):
                break
        self._take(msgspec.structs.replace(record, version=record.version + bool(old)))
        await self._backplane.publish(TOPIC, Signal(""))
        return new

    async def _next_time(self) -> int:
        """Later than all news, whatever the clock says: others look from the newest one on."""
        newest = await self._records.find(KIND, limit=1)
        return max(now_ms(), newest[0].at + 1 if newest else 0)


NOTHING = 0, Standing()


def _standing(record: Record) -> Standing:
    """What a record says. Whoever it is about is kept out when that can't be understood."""
    try:
        return msgspec.convert(record.data, Standing)
    except msgspec.ValidationError as error:
        log.error("what stands against a user can't be understood; the user is blocked", error=str(error))
        return Standing(block=Block(by="", by_name="", at=record.at, by_admin=True))


def _in_force(standing: Standing) -> Block | None:
    block = standing.block
    return block if block and (block.until is None or block.until > now_ms()) else None


class Gate:
    """Who a token speaks for, if that one may come in."""

    def __init__(self, authenticator: Authenticator, access: Access) -> None:
        self._authenticator = authenticator
        self._access = access

    async def verify(self, token: str) -> Principal:
        """Raises what ``Authenticator.verify`` and ``check`` raise."""
        principal = await self._authenticator.verify(token)
        self.check(principal)
        return principal

    def check(self, principal: Principal) -> None:
        """Whether one who came in may still be here. Raises ``InvalidToken``, ``Forbidden``."""
        self._access.check(principal)
