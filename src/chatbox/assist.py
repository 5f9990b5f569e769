"""The model as an assistant of staff: the next reply as it would write it, and what a conversation is about.

Nothing of it is stored, nobody but who asked for it sees it, and nothing is sent by itself. The model gets one
conversation and nothing else; notes are never part of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from chatbox.errors import Conflict, ModelTooSlow, ModelUnavailable, ProviderError, ProviderTimeout
from chatbox.llm.base import Event, Piece, Prompt, Provider, ProviderSettings, Turn, Usage
from chatbox.llm.history import MIN_SHARE, by_beginning, cost, shortened, spoken
from chatbox.metrics import Metrics
from chatbox.session import Entry, Session
from chatbox.storage.base import Storage

HISTORY = 200
END = 1 << 40
LONGEST = 60.0
"""Seconds after which the model is cut off."""

SUGGEST = (
    "You help a member of a support team. Below is their conversation with a user. Write the next reply that they "
    "could send: in the user's language, friendly, short, plain text, without a greeting if there was one before. "
    "Never promise or claim what the conversation does not say. Write nothing but the reply."
)
SUMMARISE = (
    "Below is a conversation between a user and a support assistant. Tell a colleague who takes over, in at most five "
    "short lines: what the user wants, what was tried, what is open. In the user's language. Write nothing else."
)
SPEAKERS = {"user": "User", "assistant": "Support"}


class Assist:
    """``providers`` by id, the default first; a session's own model is asked."""

    def __init__(self, storage: Storage, providers: Mapping[str, Provider], metrics: Metrics) -> None:
        self._storage = storage
        self._providers = providers
        self._metrics = metrics

    async def suggestion(self, session: Session) -> AsyncGenerator[str, None]:
        """The next reply, piece by piece. Raises ``Conflict`` before anything was said, ``ModelUnavailable``."""
        async with aclosing(self._written(session, SUGGEST)) as pieces:
            async for piece in pieces:
                yield piece

    async def summary(self, session: Session) -> AsyncGenerator[str, None]:
        """What the conversation is about, in the same way."""
        async with aclosing(self._written(session, SUMMARISE)) as pieces:
            async for piece in pieces:
                yield piece

    async def _written(self, session: Session, task: str) -> AsyncGenerator[str, None]:
        provider = self._providers.get(session.model_id or "") or next(iter(self._providers.values()))
        turns = asked(await self._storage.read(session.id, before=END, limit=HISTORY), task, provider.settings)
        label = provider.settings.id
        self._metrics.llm_requests_total.labels(label).inc()
        prompt = Prompt(turns=turns, session_id=session.id, user_id=session.user_id)
        try:
            async with asyncio.timeout(LONGEST), aclosing(provider.stream(prompt)) as events:
                async for event in events:
                    if isinstance(event, Piece):
                        yield event.text
                    else:
                        self._count(label, event)
        except (ProviderError, TimeoutError) as error:
            self._metrics.llm_errors_total.labels(label).inc()
            slow = isinstance(error, TimeoutError | ProviderTimeout)
            raise (ModelTooSlow if slow else ModelUnavailable)("The assistant can't help now. Try again.") from error

    def _count(self, label: str, event: Event) -> None:
        if isinstance(event, Usage):
            self._metrics.tokens_used_total.labels(label).inc(event.total)


def asked(entries: Sequence[Entry], task: str, settings: ProviderSettings) -> tuple[Turn, ...]:
    """The task, and the newest of the conversation that fits, as one quoted text."""
    said = [turn for entry in by_beginning(entries) for turn in spoken(entry)]
    if not said:
        raise Conflict("Nothing was said in this conversation yet.")
    system = Turn("system", task)
    budget = max(settings.context - settings.max_tokens, settings.context // MIN_SHARE) - cost(system)
    lines: list[str] = []
    for turn in reversed(said):
        line = f"{SPEAKERS[turn.role]}: {turn.content}"
        if lines and cost(Turn("user", "\n".join([line, *lines]))) > budget:
            break
        lines.insert(0, line)
    return system, shortened(Turn("user", "\n".join(lines)), budget)
