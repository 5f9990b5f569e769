"""The sessions that one staff socket shows: a listener in each, all through the socket's one outbox.

To watch is what it is for a user's socket to attach, from the last position that was seen or from the stored messages
on: then everything comes, without a gap or a double. Nobody in the session notices.
"""

from __future__ import annotations

from collections.abc import Callable

from chatbox import transcript
from chatbox.backplane.base import Piece
from chatbox.conversations import Conversations, Page
from chatbox.errors import NotFound, TooMany, Unavailable
from chatbox.hub import Hub, Position, Replay
from chatbox.outbox import Outbox
from chatbox.protocol import Frame
from chatbox.room import Listener
from chatbox.session import STAFF_VISIBLE, Entry, Session, new_id
from chatbox.staff import protocol
from chatbox.staff.protocol import Excerpt, Watch
from chatbox.staff.view import Views, view
from chatbox.storage.base import Storage

MAX_WATCHED = 200
EXCERPT = 1 << 18
"""Characters of stored messages in one frame, if they are more than one."""
TRIES = 10


class Watcher(Listener):
    """A session on a staff socket. ``ended`` is called when there is nothing more to watch."""

    __slots__ = ("_ended", "_outbox", "client", "id", "joined", "position", "sending", "session_id")

    sees = STAFF_VISIBLE

    def __init__(self, session_id: str, outbox: Outbox, ended: Callable[[Watcher], None]) -> None:
        self.id = new_id()
        self.client = ""
        self.joined = 0
        self.session_id = session_id
        self.position = 0
        self.sending: set[str] = set()
        self._outbox = outbox
        self._ended = ended

    def send(self, frame: Frame, piece: Piece | None = None) -> None:
        if piece is None:
            self._outbox.put(frame, self.session_id)
        else:
            self._outbox.put_piece(frame, self.session_id, self.position, piece)

    def close(self, code: int, reason: str) -> None:
        """The session is gone; the socket has others."""
        self._ended(self)


class Moved(Exception):
    """The session is not where it was when its messages were read."""


class Refused(Exception):
    """The client can't go on where it was, for this reason."""

    def __init__(self, replay: Replay) -> None:
        super().__init__(replay.reason)
        self.reason = replay.reason


class Watching:
    """The watched sessions of one socket. Of the same session one thing is done at a time."""

    def __init__(self, storage: Storage, hub: Hub, conversations: Conversations, views: Views, outbox: Outbox) -> None:
        self._storage = storage
        self._hub = hub
        self._conversations = conversations
        self._views = views
        self._outbox = outbox
        self._watchers: dict[str, Watcher] = {}
        self._over = False

    def __len__(self) -> int:
        return len(self._watchers)

    async def watch(self, command: Watch) -> None:
        """Show a session, from the position that the command names or else from the stored messages on. Raises
        ``NotFound``, ``TooMany``, ``StorageError``."""
        self.unwatch(command.session_id)
        session = await self._session(command.session_id)
        reason: str | None = None
        if command.at:
            try:
                await self._attach(session, command.message_id, command.at, None)
            except Refused as refused:
                reason = refused.reason
            else:
                return
        await self._from_messages(session, command.message_id, reason)

    async def listener(self, session_id: str) -> Watcher:
        """Where one acts in a session: watched from now on, if it was not."""
        if watcher := self._watchers.get(session_id):
            return watcher
        return await self._attach(await self._session(session_id), None, None, None)

    def unwatch(self, session_id: str) -> None:
        """Show a session no more; of one that is not shown: nothing."""
        if watcher := self._watchers.pop(session_id, None):
            self._hub.leave(session_id, watcher)

    def close(self) -> None:
        """The socket is gone, and what is on its way comes to nothing."""
        self._over = True
        for session_id in list(self._watchers):
            self.unwatch(session_id)

    async def history(self, session_id: str, message_id: str, before: int) -> None:
        """Send the stored messages before a position. Raises ``NotFound``, ``StorageError``."""
        page = await self._conversations.page(await self._session(session_id), before, STAFF_VISIBLE)
        self._outbox.put(protocol.history(session_id, message_id, excerpt(page)), "")

    async def _from_messages(self, session: Session, message_id: str, reason: str | None) -> None:
        """The newest stored messages, and then what follows on them. Between the two something may happen: then it is
        read again."""
        for _ in range(TRIES):
            page = await self._conversations.page(session, sees=STAFF_VISIBLE)
            try:
                await self._attach(session, message_id, Position(session.epoch, page.seq), page, reason)
            except Moved:
                session = await self._session(session.id)
            else:
                return
        raise Unavailable("The conversation moves too fast to be shown now. Try again.", retry_after=1000)

    async def _attach(
        self,
        session: Session,
        message_id: str | None,
        at: Position | None,
        page: Page | None,
        reason: str | None = None,
    ) -> Watcher:
        if len(self._watchers) >= MAX_WATCHED:
            raise TooMany(f"You watch {MAX_WATCHED} conversations already. Close one.")
        online = await self._views.online(session)

        def greet(now: Session, replay: Replay) -> Frame:
            if page and replay.seq != page.seq:
                raise Moved
            if at and not page and not replay.resumed:
                raise Refused(replay)
            messages = excerpt(page) if page else None
            return protocol.watch_status(message_id, now, view(now, online=online), replay, messages, reason)

        watcher = Watcher(session.id, self._outbox, self._forget)
        await self._hub.attach(session, watcher, at, greet)
        if self._over:
            self._hub.leave(session.id, watcher)
        else:
            self._watchers[session.id] = watcher
        return watcher

    def _forget(self, watcher: Watcher) -> None:
        if self._watchers.get(watcher.session_id) is watcher:
            del self._watchers[watcher.session_id]

    async def _session(self, session_id: str) -> Session:
        session = await self._storage.get(session_id)
        if session is None:
            raise NotFound("The conversation does not exist.")
        return session


def excerpt(page: Page) -> Excerpt:
    """The newest messages of a page that together are not too long for a frame."""
    kept: list[Entry] = []
    size = 0
    for entry in reversed(page.entries):
        size += len(entry.content)
        if kept and size > EXCERPT:
            break
        kept.insert(0, entry)
    whole = len(kept) == len(page.entries)
    return Excerpt([transcript.message(entry) for entry in kept], page.before if whole else kept[0].seq)
