"""How long to wait before the next attempt to connect. No I/O, no clock."""

from __future__ import annotations

import random

FIRST = 0.25
LONGEST = 15.0
AT_ONCE = 0.0
"""The wait that a server asks for when all is well with it."""


class Backoff:
    """Up to 0.25 s, then up to twice as long each time, at most 15 s; anywhere in that range, so that the clients of a
    server that went down don't come back all at once."""

    __slots__ = ("_failures",)

    def __init__(self) -> None:
        self._failures = 0

    def next(self, asked: float | None) -> float:
        """Seconds to wait; at least what the server asked for. ``AT_ONCE`` is 0 s, though not twice in a row."""
        failures, self._failures = self._failures, min(self._failures + 1, 16)
        if asked == AT_ONCE and not failures:
            return 0.0
        return (asked or 0.0) + random.uniform(0.0, min(LONGEST, FIRST * 2.0**failures))  # noqa: S311 - spreads load

    def held(self) -> None:
        """A connection was good for something: start over."""
        self._failures = 0
