"""The MongoDB that stores of tests are kept in: a peer that is shared by all, or the one that is named to them."""

from __future__ import annotations

import os
from itertools import count

from pymongo import MongoClient

from chatbox.session import new_id
from chatbox.storage.mongo import MongoSettings
from tests.mongo_peer import MongoPeer

NAMED = os.environ.get("CHATBOX_TEST_MONGO_URI", "")
"""A MongoDB for tests. Databases that begin with ``PREFIX`` are made there, and dropped in the end."""

PREFIX = f"chatbox_test_{new_id().replace('-', '_')}_"


class Shared:
    """The peer, started when it is first needed. It flushes nothing: tests of what is durable have their own."""

    def __init__(self) -> None:
        self._peer: MongoPeer | None = None
        self._numbers = count()
        self._clients: dict[str, MongoClient[dict[str, object]]] = {}

    @property
    def peer(self) -> MongoPeer:
        if self._peer is None:
            self._peer = MongoPeer(durable=False)
            self._peer.start()
        return self._peer

    def settings(self, url: str | None = None) -> MongoSettings:
        """A database of one's own."""
        return MongoSettings(self.peer.url if url is None else url, database=f"{PREFIX}{next(self._numbers)}")

    def emptied(self, url: str | None = None) -> MongoSettings:
        """The same database each time, without what is in it: quicker than a new one with its indexes."""
        settings = self.settings(url)._replace(database=f"{PREFIX}again")
        client = self._clients.get(settings.url) or MongoClient(settings.url)
        self._clients[settings.url] = client
        database = client[settings.database]
        for name in database.list_collection_names():
            database[name].delete_many({})
        return settings

    def at(self, port: int) -> MongoSettings:
        """A database of one's own behind this port, which is not asked where else its server is."""
        return self.settings(f"mongodb://127.0.0.1:{port}/?directConnection=true")

    def close(self) -> None:
        for client in self._clients.values():
            client.close()
        if self._peer is not None:
            self._peer.__exit__()
        if NAMED:
            with MongoClient(NAMED) as client:
                for name in client.list_database_names():
                    if name.startswith(PREFIX):
                        client.drop_database(name)


shared = Shared()
