"""Where sessions and their logs are kept."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from chatbox.errors import ConfigError
from chatbox.settings import Settings
from chatbox.storage.base import CellStorage

SQLITE = "sqlite:///"


def open_storage(settings: Settings) -> CellStorage:
    """The store that ``STORE_URL`` names, to be opened by ``async with``. Raises ``ConfigError`` when it can't be."""
    if settings.store_url.startswith(SQLITE):
        from chatbox.storage.sqlite import SqliteStorage

        return SqliteStorage(Path(settings.store_url.removeprefix(SQLITE)))
    if find_spec("pymongo") is None:
        raise ConfigError(["STORE_URL: MongoDB's driver is not installed; get it with: pip install 'chatbox[mongo]'"])
    from chatbox.storage.mongo import MongoSettings, MongoStorage

    return MongoStorage(
        MongoSettings(
            url=settings.store_url,
            database=settings.mongo_database,
            collection=settings.mongo_collection,
            connect_timeout=settings.mongo_connect_timeout,
            retry_attempts=settings.mongo_retry_attempts,
            retry_delay=settings.mongo_retry_delay,
            retry_max_delay=settings.mongo_retry_max_delay,
        )
    )
