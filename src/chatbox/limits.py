"""How often something may happen: an exact sliding window per key, bounded in time and in memory."""

from __future__ import annotations

import asyncio
import time
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Protocol


class SlidingWindow:
    """At most ``limit`` hits a key in any ``window`` seconds.

    Memory is bounded by ``max_keys`` keys of ``limit`` times (8 bytes each). *Full* means that the key counted longest
    ago is forgotten for a new one: to shed one's own count that way takes ``max_keys`` hits under other names, far more
    than the ``limit`` hits it wins. Keys whose hits have all passed out of the window go first, on every new key.

    The clock is monotonic, so that setting the wall clock changes nothing. Not for use from several threads.
    """

    def __init__(
        self, limit: int, window: float, *, max_keys: int = 100_000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        if limit < 1 or max_keys < 1 or not window > 0:
            raise ValueError("a limit needs at least one hit, one key and a window longer than nothing")
        self.limit = limit
        self.window = window
        self.max_keys = max_keys
        self._clock = clock
        # Key to the times its hits expire, ascending. Counting moves a key to the end, so keys are in order of expiry.
        self._expiries: OrderedDict[str, array[float]] = OrderedDict()

    def hit(self, key: str) -> float:
        """Count a hit: 0.0 when it is allowed, else the seconds until one will be. A refused hit is not counted."""
        now = self._clock()
        expiries = self._expiries.get(key)
        if expiries is None:
            self._make_room(now)
            expiries = self._expiries[key] = array("d")
        else:
            del expiries[: bisect_right(expiries, now)]
        if len(expiries) >= self.limit:
            return expiries[0] - now
        expiries.append(now + self.window)
        self._expiries.move_to_end(key)
        return 0.0

    def sweep(self) -> int:
        """Forget the keys that have no hit left in the window; how many those were."""
        before = len(self._expiries)
        self._drop_expired(self._clock())
        return before - len(self._expiries)

    def __len__(self) -> int:
        """Keys remembered."""
        return len(self._expiries)

    def _make_room(self, now: float) -> None:
        if len(self._expiries) < self.max_keys:
            return
        self._drop_expired(now)
        if len(self._expiries) >= self.max_keys:
            self._expiries.popitem(last=False)

    def _drop_expired(self, now: float) -> None:
        while self._expiries:
            key, expiries = next(iter(self._expiries.items()))
            if expiries[-1] > now:
                return
            del self._expiries[key]


class Counts(Protocol):
    """Something that counts by key and forgets."""

    def sweep(self) -> int: ...


async def sweep_regularly(counts: Iterable[Counts], interval: float) -> None:
    """Sweep them every ``interval`` seconds, until cancelled."""
    while True:
        await asyncio.sleep(interval)
        for one in counts:
            one.sweep()
