"""What replicas share beside the store."""

from __future__ import annotations

from collections.abc import Mapping

from chatbox.backplane.base import Backplane, Pool, Quotas, Window
from chatbox.backplane.memory import MemoryBackplane, MemoryQuotas
from chatbox.errors import ConfigError
from chatbox.keyring import Keyring


def open_backplane(
    url: str, keyring: Keyring, windows: Mapping[str, Window], pools: Mapping[str, Pool]
) -> tuple[Backplane, Quotas]:
    """What the replicas at a Redis URL share, to be opened by ``async with``; without a URL, this process is alone.

    Raises ``ConfigError``.
    """
    if not url:
        return MemoryBackplane(), MemoryQuotas(windows, pools)
    try:
        from chatbox.backplane.redis import RedisBackplane, RedisQuotas
    except ImportError as error:
        raise ConfigError([f"REDIS_URL: {error}; install it: pip install 'chatbox[redis]'"]) from None
    return RedisBackplane(url, keyring), RedisQuotas(url, keyring, windows, pools)
