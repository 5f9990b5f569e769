"""Where sessions and their logs are kept."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from chatbox.errors import ConfigError
from chatbox.settings import Settings
from chatbox.storage.base import CellStorage, Target

SQLITE = "sqlite:///"


def open_storage(settings: Settings) -> CellStorage:
    """The store that ``STORE_URL`` names, to be opened by ``async with``. Raises ``ConfigError`` when it can't be."""
    if settings.store_url.startswith(SQLITE):
        from chatbox.storage.sqlite import SqliteStorage

        return SqliteStorage(Path(settings.store_url.removeprefix(SQLITE)))
    need_driver()
    from chatbox.storage.mongo import MongoStorage

    return MongoStorage.of(settings)


def open_target(settings: Settings) -> Target:
    """The same, to take over what another store holds."""
    if settings.store_url.startswith(SQLITE):
        raise ConfigError(["--to: what is stored can be copied to MongoDB only; give mongodb://…"])
    need_driver()
    from chatbox.storage.mongo import MongoTarget

    return MongoTarget.of(settings)


def need_driver() -> None:
    if find_spec("pymongo") is None:
        raise ConfigError(["STORE_URL: MongoDB's driver is not installed; get it with: pip install 'chatbox[mongo]'"])
