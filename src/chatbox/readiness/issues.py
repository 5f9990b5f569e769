"""The numbered readiness issues: standing requirements, each with tests that fail when it comes back.

A test says which issue it belongs to with ``@pytest.mark.readiness(issue=N)``. Numbers are never given twice; 14 and 16
were never used. What the review finds next gets the next number.
"""

from __future__ import annotations

from enum import StrEnum

import msgspec


class Severity(StrEnum):
    CRITICAL = "critical"
    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


class Issue(msgspec.Struct, frozen=True):
    """``title`` is what could go wrong, ``holds`` what is true instead, shown by ``properties`` properties at least."""

    number: int
    severity: Severity
    title: str
    holds: str
    properties: int = 0


ISSUES = (
    Issue(
        1,
        Severity.CRITICAL,
        "Ended sessions stay in memory",
        "A periodic sweep forgets ended and idle sessions after SESSION_TTL and never an active one; a thousand "
        "sessions made and ended leave memory as it was; the sweep stops with the application.",
        properties=7,
    ),
    Issue(
        2,
        Severity.HIGH,
        "A session goes by different ids",
        "The server makes one id, the client is told that one, and it is used everywhere; when the store fails, the "
        "session exists nowhere.",
    ),
    Issue(
        3,
        Severity.LOW,
        "A replaced connection lingers",
        "The old socket is closed with its code and its tasks end; its late clean-up can't remove the new connection.",
    ),
    Issue(
        4,
        Severity.CRITICAL,
        "A connection's session is written by several tasks",
        "One owner writes it; every interleaving explored gives the same answer.",
    ),
    Issue(
        5,
        Severity.LOW,
        "The main program starts nothing",
        "`chatbox serve` checks its settings, binds, serves, logs the address and ends with exit code 0 on SIGTERM and "
        "SIGINT; a second signal forces it.",
    ),
    Issue(
        6,
        Severity.CRITICAL,
        "Placeholder secrets are deployed",
        "No manifest holds a secret; a scanner knows placeholders in YAML, in environment files and in the running "
        "configuration; start-up refuses them.",
    ),
    Issue(
        7,
        Severity.HIGH,
        "Frames are used before they are checked",
        "Every inbound frame is decoded, validated and cleaned (NUL removed, trimmed, never HTML-escaped) before "
        "anything else sees it.",
    ),
    Issue(
        8,
        Severity.HIGH,
        "An answer can stream for ever",
        "Connecting, the first token, the pause between tokens and the whole answer have deadlines; after one the "
        "provider's call is cancelled, the partial answer is kept, the user is told and nothing leaks.",
        properties=2,
    ),
    Issue(
        9,
        Severity.MEDIUM,
        "The store gives up at the first hiccup",
        "Transient errors are tried again with exponential back-off up to a cap; others fail at once.",
        properties=3,
    ),
    Issue(
        10,
        Severity.CRITICAL,
        "A session is stored while it changes",
        "What is stored is one consistent state, and every field comes back as it was.",
    ),
    Issue(
        11,
        Severity.HIGH,
        "The rate limiter remembers for ever",
        "It is bounded in time and in keys; its clean-up is periodic and stops with the application.",
        properties=3,
    ),
    Issue(
        12,
        Severity.MEDIUM,
        "Response times pile up",
        "A rolling window keeps the last 100 of each session, and its figures are right.",
        properties=2,
    ),
    Issue(
        13,
        Severity.CRITICAL,
        "Origins are checked loosely",
        "Matching is exact and can change while serving; an empty list admits only loopback origins in development and "
        "is refused in production.",
        properties=1,
    ),
    Issue(
        15,
        Severity.LOW,
        "Shutdown ignores its deadline",
        "All sockets are told and closed side by side; it is over by the deadline and forced after it.",
        properties=2,
    ),
    Issue(
        17,
        Severity.HIGH,
        "Weak token secrets are accepted",
        "A secret needs 32 characters and no weak word; the refusal says how to make one; strong ones pass.",
        properties=2,
    ),
    Issue(
        18,
        Severity.HIGH,
        "Staff endpoints have no limit",
        "They have their own, per member of staff and apart from the users', and say when to come back.",
        properties=3,
    ),
    Issue(
        19,
        Severity.MEDIUM,
        "The configuration is not checked",
        "Every start checks every setting (ports, required values, formats, ranges) and lists all problems at once.",
        properties=2,
    ),
)
"""In the order of their numbers."""
