"""Lists that are longer than a page."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec

from chatbox.session import Session
from chatbox.storage.base import SessionQuery, Storage

BATCH = 500


async def sessions_of(storage: Storage, query: SessionQuery) -> AsyncIterator[Session]:
    """All sessions that match, newest activity first, read as they are asked for. Raises ``StorageError``."""
    query = msgspec.structs.replace(query, limit=BATCH)
    while found := await storage.find(query):
        for session in found:
            yield session
        query = msgspec.structs.replace(query, before=(found[-1].last_activity, found[-1].id))
