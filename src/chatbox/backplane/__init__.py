"""What replicas share beside the store."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec

from chatbox.backplane.base import Backplane, Pool, Quotas, Window
from chatbox.backplane.memory import MemoryBackplane, MemoryQuotas
from chatbox.errors import ConfigError
from chatbox.keyring import Keyring


def open_backplane(
    redis_url: str, keyring: Keyring, windows: Mapping[str, Window], pools: Mapping[str, Pool]
) -> tuple[Backplane, Quotas]:
    """A backplane and counts over Redis, or without a URL for this process alone; to be opened by ``async with``.
    Raises ``ConfigError``."""
    if not redis_url:
        return MemoryBackplane(), MemoryQuotas(windows, pools)
    if find_spec("redis") is None:
        raise ConfigError(
            ["REDIS_URL: the client of Redis is not installed; get it with: pip install 'chatbox[redis]'"]
        )
    from chatbox.backplane.redis import RedisBackplane, RedisQuotas

    return RedisBackplane(redis_url, keyring), RedisQuotas(redis_url, keyring, windows, pools)
