"""The collections of the store, and their indexes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, TypeVar

import pymongo
import stamina
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import DuplicateKeyError, PyMongoError

from chatbox.errors import StorageBusy, StorageError
from chatbox.storage.mongo.attempts import Attempts, once, transient, translated
from chatbox.storage.mongo.client import Client, Document, MongoSettings, open_client

T = TypeVar("T")
Collection = AsyncCollection[Document]

VERSION = 1
"""What the documents look like. A store of a newer version is refused."""

BUILDING = 3600.0
"""How long indexes may take to be made, in s: the first time on a store that is full."""

QUEUE = 4096
"""Operations that may run or wait; one more is refused with ``StorageBusy``."""

PAUSE = 0.5
"""The longest pause, in s, before MongoDB is asked again at the start."""

ACTIVE, EMPTY, OF_USER, BY_ACTIVITY = "active_of_user", "empty_of_user", "of_user", "by_activity"
ANSWERING, SHARE_TOKEN, SHARE_HASH = "answering", "share_token", "share_hash"
ASSISTED, WAITING = "assisted", "waiting"
BY_START, BY_END, BY_DURATION = "by_start", "by_end", "by_duration"
BY_MESSAGES, BY_TOKENS, BY_USER, BY_PERIOD = "by_messages", "by_tokens", "by_user", "by_period"
WERE_ASSISTED, ASKED = "were_assisted", "asked"
"""Indexes of the sessions: queries name them."""

IN_TIME, OF_ADMIN = "in_time", "of_admin"
"""Indexes of periods, takeovers and tallies."""

RECORD, BY_TIME, BY_KEY, DUE = "record", "by_time", "by_key", "due"
"""Indexes of the records."""


class Index(NamedTuple):
    collection: str
    name: str
    keys: tuple[tuple[str, int], ...]
    options: Document
    purpose: str


UP, DOWN = ASCENDING, DESCENDING

INDEXES = (
    Index("sessions", ACTIVE, (("user_id", UP),), {"unique": True, "partialFilterExpression": {"is_active": True}},
          "a user has one active session"),
    Index("sessions", EMPTY, (("user_id", UP),), {"unique": True, "partialFilterExpression": {"last_index": 0}},
          "a user has one session without entries"),
    Index("sessions", OF_USER, (("user_id", UP), ("last_activity", DOWN), ("_id", DOWN)), {},
          "a user's list, newest activity first"),
    Index("sessions", BY_ACTIVITY, (("last_activity", DOWN), ("_id", DOWN)), {}, "everybody's list, retention"),
    Index("sessions", ANSWERING, (("answer_id", UP),), {"sparse": True}, "answers that run, or whose process died"),
    Index("sessions", SHARE_TOKEN, (("share_token", UP),), {"sparse": True}, "a share link"),
    Index("sessions", SHARE_HASH, (("share_hash", UP),), {"sparse": True}, "a share link whose token is sealed"),
    Index("sessions", ASSISTED, (("assisting_admin_id", UP),), {"sparse": True}, "sessions that staff have"),
    Index("sessions", WAITING, (("help_since", UP),), {"sparse": True}, "users who wait for a person"),
    Index("sessions", BY_START, (("start_time", DOWN), ("_id", DOWN), ("is_active", UP), ("admin_assisted", UP),
          ("help_requested", UP)), {}, "staff's list by start; counts"),
    Index("sessions", BY_END, (("end_time", DOWN), ("_id", DOWN), ("start_time", DOWN)), {}, "staff's list by end"),
    Index("sessions", BY_DURATION, (("duration_ms", DOWN), ("_id", DOWN), ("start_time", DOWN)),
          {"partialFilterExpression": {"is_active": False}}, "staff's list by duration"),
    Index("sessions", BY_MESSAGES, (("message_count", DOWN), ("_id", DOWN), ("start_time", DOWN)), {},
          "staff's list by number of messages"),
    Index("sessions", BY_TOKENS, (("total_tokens", DOWN), ("_id", DOWN), ("start_time", DOWN)), {},
          "staff's list by tokens"),
    Index("sessions", BY_USER, (("user_id", DOWN), ("_id", DOWN), ("start_time", DOWN)), {}, "staff's list by user"),
    Index("sessions", WERE_ASSISTED, (("start_time", DOWN), ("_id", DOWN)),
          {"partialFilterExpression": {"admin_assisted": True}}, "sessions that staff ever had"),
    Index("sessions", ASKED, (("start_time", DOWN), ("_id", DOWN)),
          {"partialFilterExpression": {"help_requested": True}}, "sessions in which a person was asked for"),
    Index("sessions", BY_PERIOD, (("period.2", DOWN), ("period.1", DOWN)), {"sparse": True},
          "how many were open at once: each session's last closed period"),
    Index("messages", "place", (("session", UP), ("index", UP)), {"unique": True},
          "one entry at each place of a log; pages of it"),
    Index("messages", "message", (("session", UP), ("message_id", UP)), {"unique": True}, "a message is stored once"),
    Index("messages", "texts", (("texts", UP),), {"sparse": True}, "changes whose texts can be dropped"),
    Index("periods", "of_session", (("session", UP),), {}, "a session's periods"),
    Index("periods", IN_TIME, (("end", DOWN), ("start", DOWN)), {}, "how many were open at once: earlier periods"),
    Index("takeovers", "of_session", (("session", UP), ("index", UP)), {}, "a session's takeovers"),
    Index("takeovers", IN_TIME, (("start", DOWN), ("session", DOWN), ("index", DOWN)), {}, "takeovers, newest first"),
    Index("takeovers", OF_ADMIN, (("admin_id", UP), ("start", DOWN), ("session", DOWN), ("index", DOWN)), {},
          "a staff member's takeovers"),
    Index("tallies", IN_TIME, (("width", UP), ("at", UP)), {}, "what was counted in each minute and hour"),
    Index("records", RECORD, (("kind", UP), ("id", UP)), {"unique": True}, "a record is stored once"),
    Index("records", BY_TIME, (("kind", UP), ("at", DOWN), ("id", DOWN)), {}, "records of a kind, newest first"),
    Index("records", BY_KEY, (("kind", UP), ("key", UP), ("at", DOWN), ("id", DOWN)), {},
          "records of a kind with a key, newest first"),
    Index("records", DUE, (("kind", UP), ("due", UP), ("id", UP)),
          {"partialFilterExpression": {"due": {"$exists": True}}}, "records with which something has to be done"),
    Index("usage", "of_day", (("user_id", UP), ("day", UP)), {}, "a user's tokens of a day"),
    Index("usage", "expiry", (("expires", UP),), {"expireAfterSeconds": 0}, "usage is dropped after 400 days"),
)  # fmt: skip
"""Every index of the store, beside those on ``_id``. Made at the start; making one that is there does nothing."""

COLLECTIONS = (
    "sessions",
    "messages",
    "partials",
    "periods",
    "takeovers",
    "tallies",
    "records",
    "usage",
    "deletions",
    "state",
)


class Database:
    """The collections by the names of their attributes, and operations on them, which are tried again."""

    sessions: Collection
    messages: Collection
    partials: Collection
    periods: Collection
    takeovers: Collection
    tallies: Collection
    records: Collection
    usage: Collection
    deletions: Collection
    state: Collection

    def __init__(self, settings: MongoSettings) -> None:
        self._settings = settings
        self._attempts = Attempts(settings)
        self._running = 0
        self._client: Client = open_client(settings)
        for name in COLLECTIONS:
            setattr(self, name, self._client[settings.database][self.name_of(name)])

    def name_of(self, collection: str) -> str:
        """What a collection is called in MongoDB."""
        prefix = self._settings.collection
        return prefix if collection == "sessions" else f"{prefix}_{collection}"

    async def run(self, operation: Callable[[], Awaitable[T]]) -> T:
        """The result of an operation that may be run twice. Raises ``StorageBusy``, ``StorageError`` and, for a
        duplicate, MongoDB's own ``DuplicateKeyError``."""
        if self._running >= QUEUE:
            raise StorageBusy(f"{QUEUE} operations are waiting for MongoDB")
        self._running += 1
        try:
            return await self._attempts(operation)
        finally:
            self._running -= 1

    async def inserted(self, operation: Callable[[], Awaitable[Any]]) -> bool:
        """Run an insert; whether it was new, or may have been: the answer to an earlier try can get lost."""
        try:
            await self.run(operation)
        except DuplicateKeyError:
            return False
        return True

    async def put(self, upsert: Callable[[], Awaitable[Any]]) -> None:
        """Run an upsert of a document that others may make at the same time: then it is there for another try."""
        if not await self.inserted(upsert):
            await self.run(upsert)

    async def open(self) -> None:
        """Wait for MongoDB; make what is missing. Raises ``StorageError``."""
        await self._reach()
        await self._check_version()
        for name in COLLECTIONS:
            await self._make_indexes(name)

    async def close(self) -> None:
        await self._client.close()

    async def probe(self) -> None:
        """Write something for real, and read it."""
        await once(self.state.update_one({"_id": "probe"}, {"$inc": {"count": 1}}, upsert=True))
        if await once(self.state.find_one({"_id": "probe"})) is None:
            raise StorageError("MongoDB does not give back what was written")

    async def _reach(self) -> None:
        """Ask until there is an answer, for as long as the settings say."""
        patience = self._settings.connect_timeout
        patient = stamina.AsyncRetryingCaller(attempts=None, timeout=patience, wait_max=PAUSE).on(transient)
        try:
            await patient(self._client.admin.command, "ping")
        except PyMongoError as error:
            failed = translated(error)
            raise type(failed)(f"{failed}; check STORE_URL and whether MongoDB runs") from error

    async def _check_version(self) -> None:
        await self.inserted(lambda: self.state.insert_one({"_id": "version", "number": VERSION}))
        found = await self.run(lambda: self.state.find_one({"_id": "version"}))
        if found and found["number"] > VERSION:
            version = f"the database has version {found['number']}"
            raise StorageError(f"{version}: a newer Chatbox wrote it, and this one can't read it")

    async def _make_indexes(self, collection: str) -> None:
        models = [
            IndexModel(list(index.keys), name=index.name, **index.options)
            for index in INDEXES
            if index.collection == collection
        ]
        if not models:
            return
        try:
            with pymongo.timeout(BUILDING):
                await self.run(lambda: getattr(self, collection).create_indexes(models))
        except DuplicateKeyError:
            raise StorageError(
                f"the indexes of collection {self.name_of(collection)!r} can't be made, since other data is in it; "
                "name another one by MONGO_DATABASE or MONGO_COLLECTION"
            ) from None
