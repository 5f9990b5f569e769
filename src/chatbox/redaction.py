"""What must not reach a log: tokens, keys, what people wrote, their names, and the signatures of links. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from enum import Enum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import PurePath
from uuid import UUID

MASK = "[redacted]"
LONGEST_TEXT = 8000
MOST_ENTRIES = 50
DEEPEST = 4

CONTENT_FIELDS = frozenset({
    "admin_name", "body", "content", "context", "delta", "draft", "filename", "frame", "history", "markdown",
    "message", "messages", "name", "new_name", "payload", "piece", "pieces", "prompt", "q", "query", "reply", "row",
    "session_name", "text", "title", "transcript", "turns", "user_name",
})  # fmt: skip
SECRET_FIELDS = frozenset({
    "auth", "authorization", "bearer", "claims", "cookie", "cookies", "credentials", "encryption_key",
    "encryption_keys", "headers", "jwt", "key", "keys", "passphrase", "passwd", "password", "secret", "set_cookie",
    "share_token", "signature", "token",
})  # fmt: skip
SECRET_ENDINGS = ("_password", "_pass", "_secret", "_token", "_key", "_credentials", "-token", "-key")

PLAIN = (int, float, type(None))
SHOWN_AS_TEXT = (PurePath, Enum, UUID, date, IPv4Address, IPv6Address, IPv4Network, IPv6Network)

# Each alternative keeps its group, which says what was there, and masks the rest.
_SECRET_TEXT = re.compile(
    r"""
      (?<![\w-])eyJ[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?                                # a JWT
    | (\b(?:bearer|basic)[\s.:=]+)[^\s"',;]+
    | ([?&\#;](?:[\w-]{0,60}(?:token|key|signature|credential|secret|password)|sig|code|q)=)[^&\s"'\#<>]+
    | ((?<![\w-])[\w-]{0,60}
        (?:password|passwd|secret|token|api[_-]?key|authorization)["']?\s*[=:]\s*["']?(?:bearer\s|basic\s)?)[^\s"',&;]+
    | (://[^/\s:@"']{0,200}:)[^@\s"']{1,1000}(?=@)
    | (/s(?:hared)?/)[\w-]{16,}
    | (?<![\w-])(?:sk|pk|key|app)-[\w-]{12,}
    | \b[0-9a-fA-F]{64}\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def redacted(event: Mapping[str, object], depth: int = 0) -> dict[str, object]:
    """The event with what is private masked, and with plain values only: text, numbers, lists and objects."""
    entries = list(event.items())[:MOST_ENTRIES]
    return {clean_text(str(key)): field_value(str(key), value, depth) for key, value in entries}


def field_value(field: str, value: object, depth: int) -> object:
    return MASK if is_private(field) and not isinstance(value, PLAIN) else clean(value, depth + 1)


def is_private(field: str) -> bool:
    """Whether a field holds a secret or what somebody wrote, going by its name. Numbers in it are counts."""
    field = field.lower()
    return field in CONTENT_FIELDS or field in SECRET_FIELDS or field.endswith(SECRET_ENDINGS)


def clean(value: object, depth: int = 0) -> object:
    """A value without secrets. Of an object that is not known to be harmless, only its type is shown."""
    if isinstance(value, str):
        return clean_text(str(value))
    if isinstance(value, PLAIN):
        return value
    if isinstance(value, BaseException):
        return clean_text(f"{type(value).__name__}: {value}")
    if isinstance(value, SHOWN_AS_TEXT):
        return clean_text(str(value))
    if depth < DEEPEST and isinstance(value, Mapping):
        return redacted(value, depth)
    if depth < DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [clean(entry, depth + 1) for entry in list(value)[:MOST_ENTRIES]]
    return f"<{type(value).__name__}>"


def clean_text(text: str) -> str:
    """Text without what looks like a secret, cut at ``LONGEST_TEXT`` characters."""
    cut = text if len(text) <= LONGEST_TEXT else text[:LONGEST_TEXT] + "…"
    return _SECRET_TEXT.sub(lambda match: next(filter(None, match.groups()), "") + MASK, cut)
