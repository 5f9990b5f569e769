"""A proxy before Redis that knows which lines are subscriptions, and loses, doubles and reorders what is published."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from tests.proxy import TO_SERVER, Link, Proxy

SUBSCRIBE, MESSAGE, PROBE = b"\r\nSUBSCRIBE\r\n", b"message", b"probe"


@dataclass
class Subscription:
    """What has come from Redis on one line and is not passed on yet."""

    rest: bytes = b""
    held: list[bytes] = field(default_factory=list)


class Bus(Proxy):
    """``lost``, ``doubled`` and ``late`` (behind the next one) are shares of all messages; ``deaf`` loses all of them.

    Probes are lost only when ``deaf``: a part of the messages may go missing without anybody's noticing.
    """

    def __init__(self, chance: Random) -> None:
        super().__init__()
        self.lost = self.doubled = self.late = 0.0
        self.deaf = False
        self.counts = {"messages": 0, "lost": 0, "doubled": 0, "late": 0}
        self._chance = chance
        self._subscriptions: dict[Link, Subscription] = {}

    def passed(self, link: Link, way: str, data: bytes) -> bytes:
        data = super().passed(link, way, data)
        if way == TO_SERVER:
            if SUBSCRIBE in data.upper():
                self._subscriptions[link] = Subscription()
            return data
        subscription = self._subscriptions.get(link)
        return self._heard(subscription, data) if subscription else data

    def _heard(self, subscription: Subscription, data: bytes) -> bytes:
        """Whole replies only; of messages, what this bus makes of them."""
        data = subscription.rest + data
        at, out = 0, []
        while end := reply_end(data, at):
            out += self._treated(subscription, data[at:end])
            at = end
        subscription.rest = data[at:]
        return b"".join(out)

    def _treated(self, subscription: Subscription, reply: bytes) -> list[bytes]:
        words = bulk_strings(reply)
        if words[:1] != [MESSAGE]:
            return [reply]
        if words[-1] == PROBE:
            return [] if self.deaf else [reply]
        self.counts["messages"] += 1
        held, subscription.held = subscription.held, []
        draw = self._chance.random()
        if self.deaf or draw < self.lost:
            self.counts["lost"] += 1
            return held
        if draw < self.lost + self.doubled:
            self.counts["doubled"] += 1
            return [reply, reply, *held]
        if draw < self.lost + self.doubled + self.late:
            self.counts["late"] += 1
            subscription.held = [reply]
            return held
        return [reply, *held]


def reply_end(data: bytes, start: int) -> int:
    """Where a reply of the protocol ends; 0 when it is not whole."""
    line = data.find(b"\r\n", start)
    if line < 0:
        return 0
    kind, end = data[start : start + 1], line + 2
    if kind == b"$":
        size = int(data[start + 1 : line])
        end += size + 2 if size >= 0 else 0
        return end if end <= len(data) else 0
    if kind in (b"*", b">"):
        for _ in range(int(data[start + 1 : line])):
            end = reply_end(data, end)
            if not end:
                return 0
    return end


def bulk_strings(reply: bytes) -> list[bytes]:
    """The strings of an array."""
    found, at = [], reply.find(b"\r\n") + 2
    while at < len(reply):
        end = reply_end(reply, at)
        line = reply.find(b"\r\n", at) + 2
        found.append(reply[line : end - 2] if reply[at : at + 1] == b"$" else reply[at + 1 : end - 2])
        at = end
    return found
