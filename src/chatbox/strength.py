"""How to tell a secret that anyone could guess, and a value that someone forgot to fill in. Pure; no I/O."""

from __future__ import annotations

import re

MIN_LENGTH = 32
"""Characters of a signing secret: RFC 7518 asks for 256 bits with HS256."""

WEAK_WORDS = (
    "secret", "test", "password", "passwd", "admin", "changeme", "change-me", "default", "example", "demo", "12345",
    "placeholder", "qwerty", "letmein",
)  # fmt: skip

MAKE_ONE = 'make one with: python3 -c "import secrets; print(secrets.token_urlsafe(48))"'

DISTINCT = 8

# Nobody means these, whatever the setting.
_UNFILLED = re.compile(
    r"""
      (?<![a-z0-9]) your [-_.]                                              # your-api-key
    | ^your(?:api|auth|jwt|secret|password|pass|token|key|domain|db|smtp|own)   # yourpassword
    | (?<![a-z0-9]) (?:change|replace|update|edit|fill) [-_\ ]? (?:me|this|it|with|in) (?![a-z0-9])
    | placeholder | (?<![a-z0-9]) (?:todo|fixme|tbd|dummy|redacted) (?![a-z0-9])
    | (?<![a-z0-9]) (?:insert|enter|put|add|paste|goes) [-_\ ] .{0,60} (?<![a-z0-9]) here (?![a-z0-9])
    | ^ <[^<>]+> $
    | ^ [x*?#]{3,} $ | ^ x{3,} [-_] | [-_] x{3,} $                          # xxxx, sk-xxxx
    """,
    re.IGNORECASE | re.VERBOSE,
)

# Nobody means these as a secret.
_GUESSABLE = re.compile(
    r"""
      ^ (?:[a-z]+[0-9]*[-_\ ])* (?:password|passwd|pass|passphrase|secret|token|key|credentials?)
        (?:[-_\ ]? (?:here|value|goes|1|12|123|1234))* [!]? $               # smtp-password
    | ^ your\ | ^ \[.*\] $ | ^ [._-]{3,} $
    | ^ (?:p[a@][s$]{2}w[o0]rd|admin|root|test|testing|demo|default|sample|example|qwerty|letmein|foo|bar|foobar|baz
        |changeit|[0-9]{1,12}|abc123|none|null|nil|undefined)[0-9]{0,4}[!]? $
    """,
    re.IGNORECASE | re.VERBOSE,
)

_REFERENCE = re.compile(r"\$\{[^{}]{1,200}\}|\$\([^()]{1,200}\)|\{\{.{1,200}?\}\}|^\$[A-Za-z_]\w*$|^%\w+%$")


def weakness(secret: str) -> str:
    """What is wrong with a signing secret, in words that reveal nothing of it; empty when it is strong."""
    if len(secret) < MIN_LENGTH:
        return f"it has {len(secret)} characters and needs at least {MIN_LENGTH}"
    lowered = secret.lower()
    if any(word in lowered for word in WEAK_WORDS):
        return "it contains a word that guessers try first (such as secret, test, password, admin, default, 12345)"
    if is_placeholder(secret):
        return "it is a placeholder that was never filled in"
    if len(set(secret)) < DISTINCT or secret in (secret + secret)[1:-1]:
        return "it repeats the same few characters"
    return ""


def is_placeholder(secret: str) -> bool:
    """Whether a secret was left for somebody to fill in, or is what everybody tries first."""
    return is_unfilled(secret) or bool(_GUESSABLE.search(secret.strip()))


def is_unfilled(value: str) -> bool:
    """Whether a value of any kind was left for somebody to fill in."""
    return bool(_UNFILLED.search(value.strip())) or is_reference(value)


def is_reference(value: str) -> bool:
    """Whether a value still holds a reference that a template or a shell should have replaced (``${JWT_SECRET}``)."""
    return bool(_REFERENCE.search(value.strip()))
