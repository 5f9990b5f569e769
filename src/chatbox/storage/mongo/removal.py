"""How a session is removed: it vanishes at once, and the rest follows, also after a crash."""

from __future__ import annotations

from datetime import UTC, datetime

from chatbox.storage.mongo import queries
from chatbox.storage.mongo.database import Database


async def delete(db: Database, session_id: str) -> None:
    """Remove a session and all that is its own. Of one that does not exist, nothing."""
    session = {"_id": session_id}
    if not await queries.exists(db, session_id):
        return
    intent = {"$set": {"at": datetime.now(UTC)}}
    await db.put(lambda: db.deletions.update_one(session, intent, upsert=True))
    await finish(db, session_id)


async def finish(db: Database, session_id: str) -> None:
    """Do, or go on with, what was begun. The session's document goes first: with it the session does not exist."""
    session, own = {"_id": session_id}, {"session": session_id}
    await db.run(lambda: db.sessions.delete_one(session))
    await db.run(lambda: db.messages.delete_many(own))
    await db.run(lambda: db.partials.delete_one(session))
    await db.run(lambda: db.periods.delete_many(own))
    await db.run(lambda: db.deletions.delete_one(session))
