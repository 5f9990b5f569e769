"""Redis in a simulation: the engine of ``fakeredis``, spoken to over the simulated network in Redis's protocol.

The replicas have the shipped backplane and counts; their connections, ``redis-py``'s own, run over that network.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace

import detangle
import redis
from fakeredis import FakeServer
from fakeredis._socket import FakeSocket

from chatbox.backplane.redis import RedisBackplane, RedisQuotas, Timing
from chatbox.backplane.redis.inbox import PROBE
from chatbox.backplane.redis.scripts import BORN, packed

HOST, PORT = "redis", 6379
URL = f"redis://{HOST}:{PORT}/0"


class Peer:
    """The way between the replicas: a Redis. ``drop`` is the share of messages on channels that it loses, ``longest``
    the longest way of a packet, ``young`` says that it has just begun."""

    beacon = Timing().beacon
    ends = ("dies", "leaves")

    def __init__(self, *, drop=0.0, longest=0.03, slow=0.05, young=False):
        self.drop, self.longest, self.slow, self.young = drop, longest, slow, young
        self.lost = 0
        self.engine = FakeServer(version=(7,))

    async def open(self, windows, pools):
        self._windows, self._pools = windows, pools
        network = detangle.network()
        network.config = replace(network.config, latency=(0.0005, self.longest), latency_steps=16, tcp_timeout=5.0)
        if not self.young:
            self._age(100)
        await self.start()

    def close(self):
        """Nothing is left to do."""

    def parts(self, host, config):
        """A replica's backplane and counts."""
        return RedisBackplane(URL, config.keyring, node=host.name), RedisQuotas(
            URL, config.keyring, self._windows, self._pools
        )

    def leases(self):
        """The sessions that somebody has the lease of."""
        return self._sessions(b":lease")

    def logs(self):
        """The sessions with pieces of an answer."""
        return self._sessions(b":log")

    def dies(self, plane):
        """A replica dies: nobody is told."""

    async def start(self):
        detangle.network().restart(HOST)
        await detangle.spawn(self._listen(), host=HOST)

    def die(self):
        """End without a word; what it knew is gone."""
        detangle.network().crash(HOST)
        self.engine = FakeServer(version=(7,))

    def cut_off(self, host):
        """Let nothing through between a host and this one."""
        detangle.network().partition([host], [HOST])

    def heal(self):
        detangle.network().heal()

    async def _listen(self):
        loop = asyncio.get_running_loop()
        await loop.create_server(lambda: Connection(self), HOST, PORT)

    def _age(self, seconds):
        """Have begun so long ago: leases of a younger server are no proof of anything."""
        born = round((time.time() - seconds) * 1000)
        Line(self, Nowhere).sendall(packed(("SET", BORN, born)))

    def _sessions(self, ending):
        Line(self, Nowhere).sendall(packed(("PING",)))  # what has expired is gone
        return [key.decode() for key in self.engine.dbs[0] if key.endswith(ending)]

    def loses(self):
        lost = detangle.flip(self.drop)
        self.lost += lost
        return lost


class Connection(asyncio.Protocol):
    """Commands come in, replies go out at once."""

    def __init__(self, peer):
        self._peer = peer

    def connection_made(self, transport):
        self._line = Line(self._peer, transport)

    def data_received(self, data):
        self._line.sendall(data)

    def connection_lost(self, exc):
        self._line.close()


class Nowhere:
    """Where replies go that nobody reads."""

    @staticmethod
    def is_closing():
        return True


class Line(FakeSocket):
    """The engine's end of a connection."""

    def __init__(self, peer, transport):
        super().__init__(peer.engine, 0, client_class=redis.Redis)
        self._peer = peer
        self._transport = transport

    def put_response(self, msg):
        told = isinstance(msg, list) and msg[:1] == [b"message"] and msg[2] != PROBE
        if not self._transport.is_closing() and not (told and self._peer.loses()):
            self._transport.write(encoded(msg))

    def _decode_error(self, error):
        return error


def encoded(reply):
    """A reply in Redis's protocol, version 2."""
    match reply:
        case None:
            return b"$-1\r\n"
        case int():
            return b":%d\r\n" % reply
        case bytes():
            return b"$%d\r\n%b\r\n" % (len(reply), reply)
        case str():
            return encoded(reply.encode())
        case list() | tuple():
            return b"*%d\r\n" % len(reply) + b"".join(map(encoded, reply))
        case _:
            return b"-%b\r\n" % reply.value.encode()
