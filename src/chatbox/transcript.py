"""A conversation as a file to keep: JSON or Markdown."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from chatbox.protocol import rfc3339
from chatbox.session import MESSAGES, Entry, Kind, Sender, Session

SPEAKERS = {Sender.USER: "You", Sender.AI: "Assistant", Sender.ADMIN: "Support", Sender.SYSTEM: "System"}

MARKS = {
    Kind.ADMIN_JOIN: {"event": "admin_join"},
    Kind.ADMIN_LEAVE: {"event": "admin_leave"},
    Kind.VOICE_MESSAGE: {"voice": "true"},
    Kind.NOTE: {"event": "note"},
}
"""Metadata that tells what a frame's type tells."""


def message(entry: Entry) -> dict[str, Any]:
    """An entry as the wire contract's ``Message``; fields without a value are left out."""
    optional = {
        "file_id": entry.file_id,
        "file_url": entry.file_url,
        "model_id": entry.model_id,
        "metadata": entry.metadata | MARKS.get(entry.kind, {}),
    }
    return {
        "message_id": entry.message_id,
        "seq": entry.seq,
        "content": entry.content,
        "timestamp": rfc3339(entry.timestamp),
        "sender": str(entry.sender),
        **{key: value for key, value in optional.items() if value},
    }


def as_json(session: Session, entries: Sequence[Entry]) -> str:
    """All entries, superseded answers and system lines too."""
    whole = {
        "session_id": session.id,
        "name": session.name,
        "start_time": rfc3339(session.start_time),
        "last_activity": rfc3339(session.last_activity),
        "messages": [message(entry) for entry in entries],
    }
    return json.dumps(whole, ensure_ascii=False, indent=2) + "\n"


def as_markdown(session: Session, entries: Sequence[Entry]) -> str:
    """What was said, for people: a heading a message."""
    parts = [f"# {session.name or 'Conversation'}", f"{rfc3339(session.start_time)} – {rfc3339(session.last_activity)}"]  # noqa: RUF001 - a range
    for entry in entries:
        if entry.kind in MESSAGES and not entry.superseded:
            parts += [f"## {_speaker(entry)} · {rfc3339(entry.timestamp)}", _body(entry)]
    return "\n\n".join(parts) + "\n"


def _speaker(entry: Entry) -> str:
    named = entry.metadata.get("admin_name") if entry.sender is Sender.ADMIN else None
    return named or SPEAKERS[entry.sender]


def _body(entry: Entry) -> str:
    if entry.kind is Kind.FILE_UPLOAD and entry.file_url:
        return f"[{entry.content or 'file'}]({entry.file_url})"
    reason = entry.metadata.get("finish_reason", "stop")
    note = "" if reason == "stop" else f"\n\n*({reason})*"
    return (entry.content or "*(no text)*") + note
