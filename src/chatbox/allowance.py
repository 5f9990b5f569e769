"""How much a user may ask for: stored frames a minute, answers at once, tokens a day."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from chatbox.backplane.base import Quotas
from chatbox.errors import TooMany
from chatbox.metrics import Metrics
from chatbox.reply import ANSWERS
from chatbox.storage.base import Storage

FRAMES = "frames"
"""The window of stored frames a user."""

ANSWER_WAIT = 2000
"""After so many ms it may be worth to ask again when all answers were busy."""


class Allowance:
    """``answers`` at once; ``tokens`` a UTC day, 0 is off. What is refused, with ``TooMany``, is not counted."""

    def __init__(self, storage: Storage, quotas: Quotas, metrics: Metrics, *, answers: int, tokens: int) -> None:
        self._storage = storage
        self._quotas = quotas
        self._metrics = metrics
        self._answers = answers
        self._tokens = tokens
        self._asking: defaultdict[str, Counter[str]] = defaultdict(Counter)

    async def frame(self, user_id: str) -> None:
        """Count a frame that will be stored."""
        if wait := await self._quotas.hit(FRAMES, user_id):
            raise self._refusal(FRAMES, "Too many messages. Wait a moment.", round(wait * 1000) + 1)

    async def tokens(self, user_id: str) -> None:
        """See that there are tokens left today."""
        now = datetime.now(UTC)
        if self._tokens and await self._storage.usage(user_id, f"{now:%Y-%m-%d}") >= self._tokens:
            midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
            wait = round((midnight - now).total_seconds() * 1000)
            raise self._refusal("tokens", "The tokens of today are used up.", wait)

    @asynccontextmanager
    async def answer(self, user_id: str, session_id: str) -> AsyncIterator[None]:
        """A place for the session's answer, from before its question is stored until it is running."""
        answering = await self._quotas.members(ANSWERS, user_id)
        asking = self._asking[user_id]
        busy = answering | asking.keys()
        if session_id not in busy and len(busy) >= self._answers:
            raise self._refusal("answers", "Too many answers at once. Wait for one to finish.", ANSWER_WAIT)
        asking[session_id] += 1
        try:
            yield
        finally:
            asking[session_id] -= 1
            if not asking[session_id]:
                del asking[session_id]
            if not asking:
                self._asking.pop(user_id, None)

    def _refusal(self, limiter: str, text: str, retry_after: int) -> TooMany:
        self._metrics.ratelimit_blocked_total.labels(limiter).inc()
        return TooMany(text, retry_after=retry_after)
