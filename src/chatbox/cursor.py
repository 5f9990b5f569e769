"""Cursors: where a list that is newest first goes on, as a text that only the list itself can read."""

from __future__ import annotations

import base64
import binascii

from chatbox.errors import InvalidFormat

LATEST = 1 << 53
"""No time (Unix ms) in a list is later, or further back."""


def cursor_of(at: int, row_id: str) -> str:
    """The cursor that goes on after the row with this time and id."""
    return base64.urlsafe_b64encode(f"{at} {row_id}".encode()).decode()


def place_of(cursor: str | None) -> tuple[int, str] | None:
    """The time and id of the row that a cursor goes on after. Raises ``InvalidFormat``."""
    if not cursor:
        return None
    try:
        at, _, row_id = base64.urlsafe_b64decode(cursor.encode()).decode().partition(" ")
        place = int(at), row_id
    except (ValueError, binascii.Error):
        raise InvalidFormat(REFUSED) from None
    if abs(place[0]) > LATEST:
        raise InvalidFormat(REFUSED)
    return place


REFUSED = "cursor is not one that this list gave."
