"""How what somebody does in a session gets into its log, and is acknowledged.

First it is committed, then told: the sender's socket gets the ack in the entry's place. A repeated ``message_id`` is
the same thing: it is acknowledged again and does nothing.
"""

from __future__ import annotations

from chatbox import protocol
from chatbox.backplane.base import Backplane, Stored
from chatbox.errors import Conflict, Fenced
from chatbox.hub import Hub
from chatbox.room import Listener
from chatbox.session import Change, Entry, Kind, Sender
from chatbox.storage.base import Appended, Storage

NEVER = -1
"""A fence that no session has: an append that shows it only finds out whether its message_id is there."""


class Commits:
    """The entries of people. ``listener`` is the sender's socket; None where there is none."""

    def __init__(self, storage: Storage, backplane: Backplane, hub: Hub) -> None:
        self._storage = storage
        self._backplane = backplane
        self._hub = hub

    async def commit(
        self, listener: Listener | None, entry: Entry, change: Change, fence: int | None = None
    ) -> Appended:
        """Commit an entry; its ack goes out in the entry's place, or again when it is a repeat. Raises ``Conflict``
        when its message_id is another message's, ``Fenced``, ``NotFound``, ``StorageError``."""
        room = self._hub.room(entry.session_id)
        if room and room.answer and room.answer.turn.answer_id == entry.message_id:
            raise Conflict("The running answer has this message_id.")
        sending = listener.sending if listener else set[str]()
        sending.add(entry.message_id)
        try:
            stored = await self._storage.append(entry, change, fence=fence)
        except BaseException:
            sending.discard(entry.message_id)
            raise
        if room:
            room.named = bool(stored.session.name)
        if stored.fresh:
            await self._backplane.publish(entry.session_id, Stored(stored.entry))
        elif entry.message_id in sending:
            self._acknowledge_again(listener, entry, stored.entry)
        return stored

    async def repeated(self, listener: Listener | None, entry: Entry) -> bool:
        """Whether the entry is in the log already; then it is acknowledged again."""
        try:
            await self.commit(listener, entry, Change(), fence=NEVER)
        except Fenced:
            return False
        return True

    def _acknowledge_again(self, listener: Listener | None, entry: Entry, first: Entry) -> None:
        """The first one counts. If its place in the log is still to come here, the ack comes with it."""
        if _said(first) != _said(entry):
            if listener:
                listener.sending.discard(entry.message_id)
            raise Conflict("Another message has this message_id.")
        room = self._hub.room(entry.session_id)
        if listener and room and first.index <= room.index:
            room.acknowledge_again(listener, first)


def acknowledge_nothing(listener: Listener, session_id: str, message_id: str) -> None:
    """What changes nothing is not stored; its sender need not send it again."""
    listener.send(protocol.ack(session_id, message_id, listener.position))


def _said(entry: Entry) -> tuple[object, ...]:
    """What makes two frames with one id the same message: the same one says the same."""
    who = entry.metadata.get("admin_id") if entry.sender is Sender.ADMIN else None
    event = entry.metadata if entry.kind is Kind.NOTIFICATION else None
    return entry.kind, entry.sender, who, entry.content, entry.file_id, event
