"""``chatbox serve`` as a later version might be: what it stores and tells other replicas has fields that this one does
not know, and with each signal come messages that it can't read. ``python -m tests.replicas.newer serve …``"""

from collections.abc import Callable
from typing import Any

import msgspec

from chatbox.backplane.base import Signal
from chatbox.backplane.redis import codec
from chatbox.backplane.redis.backplane import RedisBackplane
from chatbox.backplane.redis.scripts import TELL, Keys
from chatbox.cli import main
from chatbox.storage.mongo import documents

LATER = {"later": {"than": ["this"]}}


def widened(data: dict[str, Any]) -> dict[str, Any]:
    """Plain data with a field more in every structure."""
    for name, part in data.items():
        if isinstance(part, dict) and name != "metadata":
            data[name] = part | LATER
    return data | LATER


def wider(made: Callable[[Any], dict[str, Any]]) -> Callable[[Any], dict[str, Any]]:
    return lambda value: made(value) | LATER


def plant() -> None:
    encode, publish = codec._encode, RedisBackplane.publish

    async def publish_more(self: Any, session_id: str, event: Any) -> None:
        await publish(self, session_id, event)
        if not isinstance(event, Signal):
            return
        for message in (f"x{session_id}\nunheard of", f"e{session_id}\n0|another:seal", "y"):
            await self._link.send(TELL.call((Keys.of(session_id).nodes,), self._node, message), lambda _: None)

    codec._encode = lambda value: encode(widened(msgspec.msgpack.decode(encode(value))))
    for made in ("entry_document", "session_document"):
        setattr(documents, made, wider(getattr(documents, made)))
    RedisBackplane.publish = publish_more


if __name__ == "__main__":
    plant()
    main()
