"""Where sessions and their logs are kept."""

from __future__ import annotations

from pathlib import Path

from chatbox.errors import ConfigError
from chatbox.storage.base import CellStorage

SQLITE = "sqlite:///"


def open_storage(url: str) -> CellStorage:
    """The store that a URL names, to be opened by ``async with``. Raises ``ConfigError`` for an unknown kind."""
    if url.startswith(SQLITE):
        from chatbox.storage.sqlite import SqliteStorage

        return SqliteStorage(Path(url.removeprefix(SQLITE)))
    raise ConfigError([f"STORE_URL: this version stores in SQLite only; give {SQLITE}… instead"])
