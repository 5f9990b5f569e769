"""Finds secrets that nobody filled in, in manifests, environment files and settings. Pure: texts in, findings out.

The texts are read line by line, not parsed: a manifest with an error, a template or a file inside a ConfigMap is
scanned all the same. What a template or a shell will put in later (``${JWT_SECRET}``) is no placeholder; a default that
it would fall back to is looked at.
"""

from __future__ import annotations

import re
from base64 import b64decode
from collections.abc import Iterator
from typing import NamedTuple

from chatbox.strength import is_placeholder, is_reference, is_unfilled, weakness

_PAIR = re.compile(
    r"""(?<![\w.-])-{0,2}(?P<key>[A-Za-z_][\w.-]{0,100})["']?\s*[:=]\s*
        (?P<value>"(?:[^"\\]|\\.)*"|'[^']*'|\$\{[^{}]*\}|[^\s"'{\[,}\]][^,}\]]*|(?=\s*$))""",
    re.VERBOSE,
)
_COMMENT = re.compile(r"(?:^|\s)#.*$")
_FALLBACK = re.compile(r"\$\{[^{}:=-]*:?[-=]([^{}]*)\}")
_PASSWORD_IN_ADDRESS = re.compile(r"://[^/\s:@]*:([^@\s/]+)@")
_SECRET = re.compile(
    r"(?:^|[_.-])(?:pass|passwd|password|passphrase|secret|token|keys?|credentials?|apikey)$", re.IGNORECASE
)
_NO_SECRET = re.compile(r"^key$|public[_-]?key$", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{4,}={0,2}")
_BLOCK = re.compile(r"[|>][+-]?\d?")


class Finding(NamedTuple):
    """A place that needs a real value. It never carries the value itself."""

    source: str
    line: int
    key: str
    reason: str


def find_placeholders(text: str, name: str) -> list[Finding]:
    """Every value of a YAML, TOML or environment file that is a placeholder; ``name`` says where the text is from."""
    return [
        Finding(name, number, key, reason) for number, key, value in _pairs(text) if (reason := _reason(key, value))
    ]


def find_secrets(text: str, name: str) -> list[Finding]:
    """Every secret written out in a manifest, placeholder or not: a manifest may only refer to secrets."""
    return [
        Finding(name, number, key, "a secret is written here; refer to one that is made elsewhere")
        for number, key, value in _pairs(text)
        if _is_secret(key) and value and not is_reference(value)
    ]


def _pairs(text: str) -> Iterator[tuple[int, str, str]]:
    """Line number, key and value of everything that is set, and the passwords inside addresses."""
    key = named = ""
    for number, raw in enumerate(text.splitlines(), start=1):
        line = _COMMENT.sub("", raw)
        found = list(_PAIR.finditer(line))
        for pair in found:
            value = _unquoted(pair["value"])
            # Kubernetes sets a variable by `name: X` and, on the next line, `value: Y`.
            key = named if pair["key"] == "value" and named else pair["key"]
            named = value if key == "name" else ""
            yield number, key, value
        if not found and key:
            yield number, key, _unquoted(line.strip().removeprefix("- "))
        yield from ((number, "password", password) for password in _PASSWORD_IN_ADDRESS.findall(line))


def _unquoted(value: str) -> str:
    value = value.strip().strip("\"'")
    return "" if _BLOCK.fullmatch(value) or value == "---" else value


def _reason(key: str, value: str) -> str:
    for candidate in _candidates(value):
        if is_unfilled(candidate) or (_is_secret(key) and is_placeholder(candidate)):
            return "a value that was never filled in"
        if key.upper() == "JWT_SECRET" and (weak := weakness(candidate)):
            return f"a weak secret: {weak}"
    return ""


def _candidates(value: str) -> list[str]:
    """What a value may turn out to be: itself, what it falls back to, what it is the base64 of."""
    if is_reference(value):
        return [fallback for fallback in _FALLBACK.findall(value) if fallback]
    return [text for text in (value, _from_base64(value)) if text]


def _from_base64(value: str) -> str:
    if len(value) % 4 or not _BASE64.fullmatch(value):
        return ""
    text = b64decode(value)
    return text.decode("ascii").strip() if text.isascii() and text.decode("ascii").strip().isprintable() else ""


def _is_secret(key: str) -> bool:
    return bool(_SECRET.search(key)) and not _NO_SECRET.search(key)
