"""Sessions, entries and changes as documents of MongoDB, and back.

Mappings are JSON texts, since keys of documents can't hold every character. What is None is left out, so that sparse
indexes hold only what is there.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import msgspec
from bson import ObjectId
from msgspec.structs import asdict

from chatbox.errors import StorageCorrupt
from chatbox.session import Change, Entry, Session, Takeover
from chatbox.storage.base import SEALED, Partial
from chatbox.storage.mongo.client import Document

T = TypeVar("T")

NO_CHANGE = Change()
SEALED_MAPPING = f'{{"{SEALED}":"'
"""How a sealed mapping begins."""

_encode = msgspec.json.Encoder().encode
_decode_change = msgspec.json.Decoder(Change).decode
_decode_mapping = msgspec.json.Decoder(dict[str, str]).decode


class Logged(NamedTuple):
    """An entry of the log with what it changes in its session, and the id of its document."""

    id: ObjectId
    entry: Entry
    change: Change

    @property
    def has_texts(self) -> bool:
        """Whether the change holds texts of people, which are dropped once the session's document has them."""
        change = self.change
        return any((change.name, change.first_name, change.share_token, change.context, change.admin_name))


class Period(NamedTuple):
    """The ``number``th closed period of a session."""

    number: int
    start: int
    end: int


def session_document(session: Session) -> Document:
    values = asdict(session)
    values["_id"] = values.pop("id")
    values["help_state"] = session.help_state.value
    values["context"] = mapping_text(session.context)
    return {name: value for name, value in values.items() if value is not None}


def session_from(document: Document) -> Session:
    values = document | {"id": document["_id"], "context": mapping_from(document.get("context", "{}"))}
    return _converted(values, Session)


def difference(before: Session, after: Session) -> Document:
    """The update that makes one document of the other."""
    old, new = session_document(before), session_document(after)
    update: Document = {"$set": {name: value for name, value in new.items() if old.get(name) != value}}
    if gone := [name for name in old if name not in new]:
        update["$unset"] = dict.fromkeys(gone, "")
    return update


def entry_document(logged: Logged) -> Document:
    entry, change = logged.entry, logged.change
    values = asdict(entry) | {"_id": logged.id, "kind": entry.kind.value, "sender": entry.sender.value}
    values["session"] = values.pop("session_id")
    values["metadata"] = mapping_text(entry.metadata) if entry.metadata else None
    values["superseded"] = entry.superseded or None
    values["change"] = _encode(change).decode() if change != NO_CHANGE else None
    values["texts"] = logged.has_texts or None
    return {name: value for name, value in values.items() if value is not None}


def entry_from(document: Document) -> Entry:
    values = document | {"session_id": document["session"], "metadata": mapping_from(document.get("metadata", "{}"))}
    return _converted(values, Entry)


def logged_from(document: Document) -> Logged:
    change = document.get("change")
    return Logged(document["_id"], entry_from(document), _decode_change(change) if change else NO_CHANGE)


def period_document(session_id: str, period: Period) -> Document:
    return {"_id": f"{session_id}:{period.number}", "session": session_id, **period._asdict()}


def takeover_document(takeover: Takeover) -> Document:
    values = asdict(takeover)
    session_id = values.pop("session_id")
    return {"_id": f"{session_id}:{takeover.index}", "session": session_id, **values}


def takeover_from(document: Document) -> Takeover:
    return _converted(document | {"session_id": document["session"]}, Takeover)


def partial_from(document: Document) -> Partial:
    return Partial(document["_id"], document["answer_id"], document["fence"], document["content"])


def partial_document(partial: Partial) -> Document:
    values = {"answer_id": partial.answer_id, "fence": partial.fence, "content": partial.content}
    return {"_id": partial.session_id, **values}


def mapping_text(mapping: dict[str, str]) -> str:
    return _encode(mapping).decode()


def mapping_from(text: str) -> dict[str, str]:
    try:
        return _decode_mapping(text)
    except (msgspec.DecodeError, TypeError) as error:
        raise StorageCorrupt("a stored mapping can't be read") from error


def _converted(values: Document, kind: type[T]) -> T:
    try:
        return msgspec.convert(values, kind)
    except msgspec.ValidationError as error:
        raise StorageCorrupt(f"a stored {kind.__name__.lower()} can't be read: {error}") from error
