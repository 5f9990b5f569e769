"""Entries that are made here, by who they are from. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from chatbox.session import Entry, Kind, Sender, Session, Staff, now_ms


def system_entry(session_id: str, kind: Kind, message_id: str, metadata: Mapping[str, str]) -> Entry:
    """An entry that nobody said."""
    return Entry(
        session_id=session_id,
        kind=kind,
        message_id=message_id,
        sender=Sender.SYSTEM,
        timestamp=now_ms(),
        metadata=dict(metadata),
    )


def staff_entry(who: Staff, session_id: str, kind: Kind, message_id: str, content: str = "", **metadata: str) -> Entry:
    """What a member of staff does in a session, under their name."""
    return Entry(
        session_id=session_id,
        kind=kind,
        message_id=message_id,
        sender=Sender.ADMIN,
        content=content,
        timestamp=now_ms(),
        metadata={"admin_id": who.id, "admin_name": who.name, **metadata},
    )


def leaving(session: Session, message_id: str, **why: str) -> Entry:
    """The entry that gives a session back to the AI, in the name of who has it."""
    who = Staff(session.assisting_admin_id or "", session.assisting_admin_name or "")
    return staff_entry(who, session.id, Kind.ADMIN_LEAVE, message_id, **why)
