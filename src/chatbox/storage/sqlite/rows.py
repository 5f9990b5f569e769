"""Sessions and entries as rows of the SQLite store, and back."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import astuple

from chatbox.session import Entry, Help, Kind, Sender, Session, Takeover

Row = tuple[Any, ...]

SESSION_COLUMNS = Session.__struct_fields__
ENTRY_COLUMNS = (
    "idx",
    "message_id",
    "kind",
    "sender",
    "content",
    "timestamp",
    "model_id",
    "file_id",
    "file_url",
    "metadata",
    "superseded",
)

_encode = msgspec.json.Encoder().encode
_decode_times = msgspec.json.Decoder(list[int]).decode
_decode_mapping = msgspec.json.Decoder(dict[str, str]).decode


def session_row(session: Session) -> Row:
    """Values in the order of ``SESSION_COLUMNS``."""
    return tuple(_column(column, value) for column, value in zip(SESSION_COLUMNS, astuple(session), strict=True))


def changed_columns(before: Session, after: Session) -> dict[str, Any]:
    """The columns in which the two differ, with their new values."""
    pairs = zip(SESSION_COLUMNS, astuple(before), astuple(after), strict=True)
    return {column: _column(column, new) for column, old, new in pairs if new != old}


def session_from(row: Row) -> Session:
    values = dict(zip(SESSION_COLUMNS, row, strict=True))
    values["help_state"] = Help(values["help_state"])
    values["response_times"] = _decode_times(values["response_times"])
    values["context"] = mapping_from(values["context"])
    for column in ("is_active", "help_requested", "admin_assisted"):
        values[column] = bool(values[column])
    return Session(**values)


def entry_row(entry: Entry) -> Row:
    """Values in the order of ``ENTRY_COLUMNS``."""
    return (
        entry.index,
        entry.message_id,
        entry.kind.value,
        entry.sender.value,
        entry.content,
        entry.timestamp,
        entry.model_id,
        entry.file_id,
        entry.file_url,
        mapping_text(entry.metadata),
        entry.superseded,
    )


def entry_from(session_id: str, row: Row) -> Entry:
    return Entry(
        session_id=session_id,
        index=row[0],
        message_id=row[1],
        kind=Kind(row[2]),
        sender=Sender(row[3]),
        content=row[4],
        timestamp=row[5],
        model_id=row[6],
        file_id=row[7],
        file_url=row[8],
        metadata=mapping_from(row[9]),
        superseded=bool(row[10]),
    )


def takeover_from(session: Session, row: Row) -> Takeover:
    admin_id, start, index, messages, end = row
    return Takeover(
        session_id=session.id,
        user_id=session.user_id,
        admin_id=admin_id,
        start=start,
        index=index,
        messages=messages,
        end=end,
    )


def mapping_text(mapping: dict[str, str]) -> str:
    return _encode(mapping).decode() if mapping else "{}"


def mapping_from(text: str) -> dict[str, str]:
    return _decode_mapping(text) if text != "{}" else {}


def _column(name: str, value: Any) -> Any:
    match name:
        case "help_state":
            return value.value
        case "response_times":
            return _encode(value).decode()
        case "context":
            return mapping_text(value)
        case _:
            return value
