"""What of a session and its entries is sealed, and what each seal is bound to. No I/O.

Sealed are the texts of people: a session's names, context and share token, and of an entry, as one value in its
``content``, the content with metadata and file URL. Of a record its data, as one value. Ids, kinds, times and counts
lie open: they are what is searched and sorted by. Each value is bound to its table, row, session (or a record's kind)
and column. Empty values stay empty, except contents.
"""

from __future__ import annotations

from functools import lru_cache

import msgspec
from msgspec.structs import replace

from chatbox.errors import StorageCorrupt
from chatbox.keyring import Keyring
from chatbox.session import Change, Entry, Session
from chatbox.storage.base import SEALED, Cell, Partial, Renewal
from chatbox.storage.records import Record, data_from, data_text

SESSION_TEXTS = ("name", "user_name", "assisting_admin_name", "share_token")
CHANGE_TEXTS = (
    ("name", "name"),
    ("first_name", "name"),
    ("share_token", "share_token"),
    ("admin_name", "assisting_admin_name"),
)
KEY_CHECK = "chatbox"

REMEMBERED = 8192
"""Opened values of sessions that are kept: each append gives back its session, whose texts seldom change."""


class Body(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What is sealed of an entry."""

    content: str
    metadata: dict[str, str] = {}
    file_url: str | None = None


class Seals:
    """Seals values under the ring's current key and opens them under any. Opening raises ``StorageCorrupt``."""

    def __init__(self, keyring: Keyring) -> None:
        self.keyring = keyring
        self._encode = msgspec.msgpack.Encoder().encode
        self._decode_body = msgspec.msgpack.Decoder(Body).decode
        self._decode_mapping = msgspec.msgpack.Decoder(dict[str, str]).decode
        self._open = lru_cache(REMEMBERED)(self._open_value)

    def session(self, session: Session) -> Session:
        sealed = {column: self._text(session.id, column, text) for column, text in _texts(session)}
        if session.share_token:
            sealed["share_hash"] = self.keyring.hash(session.share_token)
        return replace(session, **sealed, context=self._mapping(session.id, session.context))

    def opened_session(self, session: Session) -> Session:
        opened = {column: self._open(session.id, column, text).decode() for column, text in _texts(session)}
        return replace(session, **opened, share_hash=None, context=self._opened_mapping(session.id, session.context))

    def change(self, session_id: str, change: Change) -> Change:
        sealed = {
            field: self._text(session_id, column, text)
            for field, column in CHANGE_TEXTS
            if (text := getattr(change, field))
        }
        if change.share_token:
            sealed["share_hash"] = self.keyring.hash(change.share_token)
        context = change.context and self._mapping(session_id, change.context)
        return replace(change, **sealed, context=context)

    def entry(self, entry: Entry) -> Entry:
        body = self._encode(Body(entry.content, entry.metadata, entry.file_url))
        return replace(entry, content=self.keyring.encrypt(body, _entry_place(entry)), metadata={}, file_url=None)

    def opened_entry(self, entry: Entry) -> Entry:
        body = self._decode_body(self.keyring.decrypt(entry.content, _entry_place(entry)))
        return replace(entry, content=body.content, metadata=body.metadata, file_url=body.file_url)

    def partial(self, partial: Partial) -> Partial:
        return replace(partial, content=self.keyring.encrypt(partial.content.encode(), _partial_place(partial)))

    def opened_partial(self, partial: Partial) -> Partial:
        return replace(partial, content=self.keyring.decrypt(partial.content, _partial_place(partial)).decode())

    def record(self, record: Record) -> Record:
        if not record.data:
            return record
        sealed = self.keyring.encrypt(data_text(record.data).encode(), _record_place(record))
        return replace(record, data={SEALED: sealed})

    def opened_record(self, record: Record) -> Record:
        if not record.data:
            return record
        sealed = self.keyring.decrypt(str(record.data.get(SEALED, "")), _record_place(record))
        return replace(record, data=data_from(sealed.decode()))

    def renewal(self, cell: Cell) -> Renewal:
        """The cell's value under the current key."""
        place = _place(cell.table, cell.row, cell.session_id, cell.column)
        plain = self.keyring.decrypt(cell.value, place)
        share_hash = self.keyring.hash(plain.decode()) if cell.column == "share_token" else None
        return Renewal(cell, self.keyring.encrypt(plain, place), share_hash)

    def key_check(self) -> dict[str, str]:
        """The current key's id with the text that later tells whether a key of that id is the same one."""
        key_id = self.keyring.current
        return {key_id: self.keyring.encrypt(KEY_CHECK.encode(), _place("key_checks", key_id, "", "value"))}

    def verify(self, key_id: str, key_check: str) -> None:
        """Raises ``StorageCorrupt`` when the ring can't open what was written under that key."""
        if key_id not in self.keyring:
            raise StorageCorrupt(f"the store was written under encryption key {key_id!r}, which is not configured")
        try:
            self.keyring.decrypt(key_check, _place("key_checks", key_id, "", "value"))
        except StorageCorrupt:
            text = f"the configured encryption key {key_id!r} is not the one that the store was written under"
            raise StorageCorrupt(text) from None

    def _text(self, session_id: str, column: str, text: str) -> str:
        return self.keyring.encrypt(text.encode(), _session_place(session_id, column))

    def _open_value(self, session_id: str, column: str, text: str) -> bytes:
        return self.keyring.decrypt(text, _session_place(session_id, column))

    def _mapping(self, session_id: str, mapping: dict[str, str]) -> dict[str, str]:
        if not mapping:
            return mapping
        return {SEALED: self.keyring.encrypt(self._encode(mapping), _session_place(session_id, "context"))}

    def _opened_mapping(self, session_id: str, mapping: dict[str, str]) -> dict[str, str]:
        if not mapping:
            return mapping
        return self._decode_mapping(self._open(session_id, "context", mapping.get(SEALED, "")))


def _texts(session: Session) -> list[tuple[str, str]]:
    return [(column, text) for column in SESSION_TEXTS if (text := getattr(session, column))]


def _entry_place(entry: Entry) -> bytes:
    return _place("messages", entry.message_id, entry.session_id, "content")


def _partial_place(partial: Partial) -> bytes:
    return _place("partials", partial.answer_id, partial.session_id, "content")


def _record_place(record: Record) -> bytes:
    return _place("records", record.id, record.kind, "data")


def _session_place(session_id: str, column: str) -> bytes:
    return _place("sessions", session_id, session_id, column)


def _place(table: str, row: str, session_id: str, column: str) -> bytes:
    """A value's associated data: no two places give the same bytes."""
    return msgspec.json.encode((table, row, session_id, column))
