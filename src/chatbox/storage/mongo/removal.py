"""How a session is removed: it vanishes at once, and the rest follows, also after a crash."""

from __future__ import annotations

from datetime import UTC, datetime

from chatbox.storage.mongo import queries
from chatbox.storage.mongo.database import Database


async def delete(db: Database, session_id: str, revision: int | None = None) -> bool:
    """Remove a session and all that is its own; given a revision of its document, only if that is still the newest.
    False when it stays. Of one that does not exist, nothing."""
    if not await queries.exists(db, session_id):
        return True
    intent = {"$set": {"at": datetime.now(UTC), "revision": revision}}
    await db.put(lambda: db.deletions.update_one({"_id": session_id}, intent, upsert=True))
    return await finish(db, session_id, revision)


async def finish(db: Database, session_id: str, revision: int | None = None) -> bool:
    """Do, or go on with, what was begun. The session's document goes first: with it the session does not exist."""
    session, own = {"_id": session_id}, {"session": session_id}
    doomed = session if revision is None else session | {"revision": revision}
    await db.run(lambda: db.sessions.delete_one(doomed))
    if revision is not None and await queries.exists(db, session_id):
        await db.run(lambda: db.deletions.delete_one(session))
        return False
    await db.run(lambda: db.messages.delete_many(own))
    await db.run(lambda: db.partials.delete_one(session))
    await db.run(lambda: db.periods.delete_many(own))
    await db.run(lambda: db.takeovers.delete_many(own))
    await db.run(lambda: db.deletions.delete_one(session))
    return True
