"""Counts that many replicas share, in Redis. While it is away, each process counts for itself."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Self

from chatbox.backplane.base import Pool, Quotas, Window
from chatbox.backplane.memory import MemoryQuotas
from chatbox.backplane.redis.line import LIVES, Address, Line, Reply, Then, Timing, answer, chunks, ms
from chatbox.backplane.redis.link import Link
from chatbox.backplane.redis.scripts import ENTER, HIT, LEAVE, MEMBERS, Argument, count_key
from chatbox.errors import BackplaneDown
from chatbox.keyring import Keyring
from chatbox.tasks import Tasks


class RedisQuotas(Quotas):
    """What is counted by, such as a user's id, is in Redis as a keyed hash only."""

    def __init__(
        self,
        url: str,
        keyring: Keyring,
        windows: Mapping[str, Window],
        pools: Mapping[str, Pool],
        *,
        timing: Timing | None = None,
    ) -> None:
        self._timing = timing = timing or Timing()
        self._keyring = keyring
        self._windows = windows
        self._pools = pools
        self._here = MemoryQuotas(windows, pools)
        self._own: defaultdict[tuple[str, str], set[str]] = defaultdict(set)
        self._late: set[tuple[str, str, str]] = set()  # who left while Redis was away
        self._tasks = Tasks()
        self._link = Link(Address(url, timing), timing, self._greet, self._tell_late)

    async def hit(self, window: str, key: str) -> float:
        rule = self._windows[window]
        command = HIT.call((self._key("hits", window, key),), rule.limit, ms(rule.seconds))
        try:
            wait: int = await self._link.send(command, answer)
        except BackplaneDown:
            return await self._here.hit(window, key)
        return wait / 1e6

    async def enter(self, pool: str, key: str, member: str) -> bool:
        try:
            entered: int = await self._link.send(self._enter(pool, key, [member], self._pools[pool].limit), answer)
        except BackplaneDown:
            entered = await self._here.enter(pool, key, member)
        else:
            if entered:
                await self._here.enter(pool, key, member)
        if entered:
            self._late.discard((pool, key, member))
            self._own[pool, key].add(member)
        return bool(entered)

    async def leave(self, pool: str, key: str, member: str) -> None:
        own = self._own.get((pool, key), set())
        own.discard(member)
        if not own:
            self._own.pop((pool, key), None)
        await self._here.leave(pool, key, member)
        await self._leave(pool, key, member)

    async def members(self, pool: str, key: str) -> set[str]:
        try:
            found: list[bytes] = await self._link.send(MEMBERS.call((self._key("pool", pool, key),)), answer)
        except BackplaneDown:
            return await self._here.members(pool, key)
        return {member.decode(errors="replace") for member in found}

    async def clean(self, interval: float) -> None:
        await self._here.clean(interval)

    async def __aenter__(self) -> Self:
        await self._link.open()
        self._tasks.keep(self._link.keep, "line to Redis for counts")
        self._tasks.keep(self._pulse, "pulse of members")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._timing.patience):
                for (pool, key), members in list(self._own.items()):
                    await asyncio.gather(*[self._leave(pool, key, member) for member in members])
        await self._tasks.__aexit__(None, None, None)
        await self._link.close()

    def _leave(self, pool: str, key: str, member: str) -> Awaitable[None]:
        def left(reply: Reply) -> None:
            if isinstance(reply, BackplaneDown):
                self._late.add((pool, key, member))

        return self._link.send(LEAVE.call((self._key("pool", pool, key),), ms(self._pools[pool].linger), member), left)

    async def _pulse(self) -> None:
        while True:
            await asyncio.sleep(self._timing.pulse)
            with suppress(BackplaneDown):
                await self._renew(self._link.send)
                self._tell_late()

    async def _greet(self, line: Line) -> None:
        await self._renew(line.send)

    async def _renew(self, send: Callable[[tuple[Argument, ...], Then[Reply]], Awaitable[Reply]]) -> None:
        """Say that the members of this process live."""
        for chunk in chunks(self._own):
            await asyncio.gather(
                *[send(self._enter(*name, list(self._own[name]), 0), answer) for name in chunk if name in self._own]
            )

    def _tell_late(self) -> None:
        """Say who left when it could not be said."""
        late, self._late = self._late, set()
        for name in late:
            self._leave(*name)

    def _enter(self, pool: str, key: str, members: list[str], limit: int) -> tuple[Argument, ...]:
        return ENTER.call((self._key("pool", pool, key),), limit, ms(LIVES * self._timing.pulse), *members)

    def _key(self, kind: str, name: str, key: str) -> str:
        return count_key(kind, name, self._keyring.hash(f"{kind}:{name}:{key}"))
