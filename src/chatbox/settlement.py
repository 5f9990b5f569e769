"""How an answer gets into the log: its entry, and the end of a turn whose process died."""

from __future__ import annotations

from collections.abc import Sequence

import structlog

from chatbox import turn
from chatbox.backplane.base import Backplane, Grant, Stored
from chatbox.draft import Draft
from chatbox.errors import Fenced, NotFound
from chatbox.llm.base import Prompt
from chatbox.llm.history import estimate_tokens
from chatbox.session import Change, Entry, Finish, Kind, Sender, Session, new_id, now_ms
from chatbox.storage.base import Storage

log = structlog.get_logger(component="settlement")

HISTORY = 500
END = 1 << 40
FAILURES = (Finish.TIMEOUT, Finish.INTERRUPTED, Finish.ERROR)
"""Ends of an answer that nobody wanted."""


class Settlement:
    """Ends turns that nobody works on any more: what was kept of the answer becomes the answer, ``interrupted``."""

    def __init__(self, storage: Storage, backplane: Backplane) -> None:
        self._storage = storage
        self._backplane = backplane

    async def settle(self, session_id: str, answer_id: str) -> Session | None:
        """End the turn of an answer, unless its process lives: then it has the lease. Returns the session if its turn
        was ended now, or before. Raises ``StorageError``."""
        mine = new_id()
        grant = await self._backplane.acquire(session_id, mine)
        if grant is None:
            return None
        try:
            session = await self._storage.get(session_id)
            if session is None or grant is not Grant.SURE:
                return None
            return await self._end(session, answer_id) if session.answer_id == answer_id else session
        finally:
            await self._backplane.finish(session_id, mine)

    async def close(self, session_id: str, mine: str) -> None:
        """End the session's turn, if the lease is ``mine`` after that turn was seen: only then nobody works on it.
        Nothing that was shown or kept of its answer is lost. Raises ``NotFound``, ``StorageError``."""
        session = await self._storage.get(session_id)
        if session is None:
            raise NotFound("The session does not exist.")
        if session.answer_id and await self._backplane.acquire(session_id, mine) is Grant.SURE:
            await self._end(session, session.answer_id)

    async def _end(self, session: Session, answer_id: str) -> Session:
        content = await self._left_behind(session.id, answer_id)
        replaces = _replaced_by(await self._storage.read(session.id, before=END, limit=HISTORY), answer_id)
        tokens = estimate_tokens(content)
        metadata = ending(Finish.INTERRUPTED, tokens, replaces, estimated=True)
        entry = answer_entry(session, answer_id, content, metadata, session.model_id)
        change = Change(ends_turn=True, tokens=tokens, failed=True, supersedes=replaces)
        try:
            stored = await self._storage.append(entry, change, fence=session.fence)
        except Fenced:
            return await self._storage.get(session.id) or session
        await self._backplane.publish(session.id, Stored(stored.entry))
        await self._backplane.finish(session.id, answer_id)
        if stored.fresh:
            log.warning("an unfinished answer was closed", session=session.id, characters=len(content))
        return stored.session

    async def _left_behind(self, session_id: str, answer_id: str) -> str:
        """The text that the store kept or that the pieces make, whichever is more."""
        kept = await self._storage.partial(session_id)
        running = await self._backplane.running(session_id, 0)
        texts = [kept.content] if kept and kept.answer_id == answer_id else []
        if running and running.turn.answer_id == answer_id:
            texts.append("".join([piece.text for piece in running.pieces]))
        return max(texts, key=len, default="")


def _replaced_by(entries: Sequence[Entry], answer_id: str) -> str | None:
    """The answer whose place an unfinished one was to take."""
    began = max((entry.index for entry in entries if entry.metadata.get("answer_id") == answer_id), default=0)
    return turn.replaced([entry for entry in entries if entry.index < began])


def outcome(session: Session, draft: Draft, model_id: str, prompt: Prompt) -> tuple[Entry, Change]:
    """What ends a turn that this process has written: the answer's entry, and what it changes."""
    finish, replaces = draft.finish or Finish.INTERRUPTED, draft.turn.replaces
    tokens = draft.usage.total if draft.usage else _estimate(prompt, draft)
    change = Change(
        ends_turn=True,
        tokens=tokens,
        response_ms=round(draft.seconds * 1000) if finish in (Finish.STOP, Finish.LENGTH) else None,
        first_ms=draft.first_ms,
        failed=finish in (Finish.TIMEOUT, Finish.INTERRUPTED, Finish.ERROR),
        supersedes=replaces,
        context=session.context | {f"llm:{model_id}": draft.state} if draft.state else None,
    )
    metadata = ending(finish, tokens, replaces, estimated=draft.usage is None)
    return answer_entry(session, draft.turn.answer_id, draft.text, metadata, model_id), change


def _estimate(prompt: Prompt, draft: Draft) -> int:
    """Tokens of an answer about which the model did not say; none if it never began."""
    if not draft.texts:
        return 0
    return estimate_tokens(draft.text) + sum(estimate_tokens(turn.content) for turn in prompt.turns)


def ending(finish: Finish, tokens: int, replaces: str | None, *, estimated: bool) -> dict[str, str]:
    """The metadata of an answer's entry."""
    metadata = {"finish_reason": str(finish), "tokens": str(tokens)}
    if estimated:
        metadata["tokens_estimated"] = "true"
    if replaces:
        metadata["replaces"] = replaces
    return metadata


def answer_entry(
    session: Session, answer_id: str, content: str, metadata: dict[str, str], model_id: str | None
) -> Entry:
    """The entry that ends a turn."""
    return Entry(
        session_id=session.id,
        kind=Kind.AI_RESPONSE,
        message_id=answer_id,
        sender=Sender.AI,
        content=content,
        timestamp=now_ms(),
        model_id=model_id,
        metadata=metadata,
    )
