"""How the connection to MongoDB is set up."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError
from pymongo.uri_parser import split_options

from chatbox.errors import ConfigError

Document = dict[str, Any]
Client = AsyncMongoClient[Document]

HEARTBEAT_MS = 500
"""How often the servers are asked for their state: after a change of the primary nothing can be written before it is
known. The driver's own 10 s are too long for people who wait."""

SELECTION_MS = 2_000
"""How long one try waits for a primary."""

CONNECT_MS = 5_000
SOCKET_MS = 10_000
"""How long one try waits for an answer."""

POOL_WAIT_MS = 5_000
MAJORITY_MS = 5_000
"""How long one try waits until a majority has it on disk."""


FORMS = "give mongodb://name:password@host:27017/, with : / @ in the password written as %3A %2F %40"


class MongoSettings(NamedTuple):
    """Where the store is and how patient it is; durations in s. ``collection`` begins all collections' names."""

    url: str
    database: str = "chat"
    collection: str = "sessions"
    connect_timeout: float = 10.0
    retry_attempts: int = 3
    retry_delay: float = 0.1
    retry_max_delay: float = 2.0


def checked(settings: MongoSettings) -> MongoSettings:
    """Raises ``ConfigError``, without the password, for a URL that can't be used: the driver would only warn."""
    try:
        _options(settings.url)
    except (PyMongoError, ValueError) as error:
        raise ConfigError([f"STORE_URL: {error}; see the options of MongoDB connection strings"]) from None
    try:
        open_client(settings)
    except (PyMongoError, ValueError):
        raise ConfigError([f"STORE_URL: no address of MongoDB; {FORMS}"]) from None
    return settings


def open_client(settings: MongoSettings) -> Client:
    """A client that connects when it is first used.

    What the URL says of time-outs counts. That a write is acknowledged when a majority has it on disk, and that reads
    see nothing that could be lost, can't be switched off.
    """
    given = {name.lower() for name in _options(settings.url)}
    own = {name: value for name, value in _defaults(settings).items() if name.lower() not in given}
    return AsyncMongoClient(settings.url, **own, **SAFETY)


SAFETY: Document = {
    "w": "majority",
    "journal": True,
    "readConcernLevel": "majority",
    "readPreference": "primary",
    "retryWrites": True,
    "retryReads": True,
    "tz_aware": True,
}


def _defaults(settings: MongoSettings) -> Document:
    return {
        "appname": "chatbox",
        "heartbeatFrequencyMS": HEARTBEAT_MS,
        "serverSelectionTimeoutMS": SELECTION_MS,
        "connectTimeoutMS": min(CONNECT_MS, round(settings.connect_timeout * 1000)),
        "socketTimeoutMS": SOCKET_MS,
        "waitQueueTimeoutMS": POOL_WAIT_MS,
        "wTimeoutMS": MAJORITY_MS,
    }


def _options(url: str) -> Mapping[str, Any]:
    query = urlsplit(url).query
    return split_options(query, validate=True, warn=False) if query else {}
