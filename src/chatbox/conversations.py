"""Reading: a user's list of sessions, one conversation page by page, and what a share link shows."""

from __future__ import annotations

import msgspec

from chatbox.cursor import cursor_of, place_of
from chatbox.errors import NotFound
from chatbox.session import MESSAGES, STEP, VISIBLE, Entry, Kind, Principal, Sender, Session
from chatbox.storage.base import SessionQuery, Storage
from chatbox.turn import open_turn

PAGE = 200
SEARCHED = 1000
BEGINNING = 1 << 40


class Listing(msgspec.Struct, frozen=True):
    """A page of a user's sessions; ``cursor`` continues it, None at the end."""

    sessions: list[Session]
    cursor: str | None


class Page(msgspec.Struct, frozen=True):
    """A part of a conversation, ascending. ``seq`` is where it ends: attaching there brings the rest. ``before`` is the
    position to go back from, None at the start."""

    session: Session
    entries: list[Entry]
    seq: int
    before: int | None


class Conversations:
    """The reading side of sessions. Authorisation is the caller's: it passes sessions that it may see."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    async def session(self, session_id: str) -> Session:
        """A session, whosever it is. Raises ``NotFound``."""
        session = await self._storage.get(session_id)
        if session is None:
            raise NotFound("The conversation does not exist.")
        return session

    async def listing(self, principal: Principal, *, q: str, cursor: str | None, limit: int) -> Listing:
        """The user's sessions, newest activity first. ``q`` searches the names of the newest 1,000."""
        before = place_of(cursor)
        if not q:
            found = await self._storage.find(SessionQuery(user_id=principal.user_id, before=before, limit=limit + 1))
        else:
            newest = await self._storage.find(SessionQuery(user_id=principal.user_id, limit=SEARCHED))
            later = [s for s in newest if before is None or (s.last_activity, s.id) < before]
            found = [s for s in later if q.casefold() in s.name.casefold()][: limit + 1]
        page = found[:limit]
        return Listing(page, cursor_of(page[-1].last_activity, page[-1].id) if len(found) > limit else None)

    async def page(self, session: Session, before: int | None = None, sees: frozenset[Kind] = VISIBLE) -> Page:
        """The stored entries that end before a position, the newest without one; only those of the kinds that the
        reader ``sees``."""
        if before is None:
            entries = await self._newest(session)
        else:
            entries = await self._storage.read(session.id, before=-(-before // STEP), limit=PAGE)
        seq = entries[-1].seq if entries else 0
        back = entries[0].seq if entries and entries[0].index > 1 else None
        return Page(session, [_marked(entry) for entry in entries if entry.kind in sees], seq, back)

    async def _newest(self, session: Session) -> list[Entry]:
        """While an answer is unfinished, these end where its turn began: attaching there brings it from its first
        character, and all that was said meanwhile."""
        end = BEGINNING
        while True:
            entries = await self._storage.read(session.id, before=end, limit=PAGE)
            if begun := open_turn(entries):
                return [entry for entry in entries if entry.index <= begun.index]
            if not entries or session.answer_id in (None, *(entry.message_id for entry in entries)):
                return entries
            end = entries[0].index

    async def everything(self, session: Session) -> list[Entry]:
        """The whole conversation, ascending."""
        return await everything(self._storage, session.id)

    async def notes(self, session: Session) -> list[Entry]:
        """What staff noted about it, ascending."""
        return await everything(self._storage, session.id, frozenset({Kind.NOTE}))

    async def shared(self, token: str) -> tuple[Session, list[Entry]]:
        """What a share link shows: messages only, staff without their names. Raises ``NotFound``."""
        found = await self._storage.find(SessionQuery(share_token=token, limit=1)) if token else []
        if not found:
            raise NotFound("This link does not exist or was revoked.")
        entries = await self.everything(found[0])
        return found[0], [_public(e) for e in entries if e.kind in MESSAGES and not e.superseded]


async def everything(storage: Storage, session_id: str, sees: frozenset[Kind] = VISIBLE) -> list[Entry]:
    """A whole conversation as its owner sees it, or all entries of some kinds, ascending."""
    found: list[Entry] = []
    while entries := await storage.read(session_id, after=found[-1].index if found else 0):
        found += entries
    return [_marked(entry) for entry in found if entry.kind in sees]


def _marked(entry: Entry) -> Entry:
    if not entry.superseded:
        return entry
    return msgspec.structs.replace(entry, metadata=entry.metadata | {"superseded": "true"})


def _public(entry: Entry) -> Entry:
    kept = {key: value for key, value in entry.metadata.items() if key in ("finish_reason", "mime_type")}
    if entry.sender is Sender.ADMIN:
        kept["admin_name"] = "Support"
    return msgspec.structs.replace(entry, metadata=kept)
