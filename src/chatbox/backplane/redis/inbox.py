"""What other nodes tell this one: one subscription a process, to the node's own channel."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError

from chatbox.backplane.redis.line import BACK_OFF, BATCH, Address, Reply, Timing
from chatbox.backplane.redis.link import Link
from chatbox.backplane.redis.scripts import channel
from chatbox.errors import BackplaneDown

log = structlog.get_logger(component="backplane")

PROBE = b"probe"


class Inbox:
    """Subscribed, and known to hear: a probe that is sent to the own channel every few seconds has to come back.

    ``hear`` gets every message, ``risen`` is called when a subscription has proved that it hears: what was said before
    is lost.
    """

    def __init__(
        self, address: Address, link: Link, node: str, timing: Timing, hear: Callable[[bytes], None],
        risen: Callable[[], None],
    ) -> None:  # fmt: skip
        self._address = address
        self._link = link
        self._channel = channel(node)
        self._timing = timing
        self._hear = hear
        self._risen = risen
        self._deadline: asyncio.Timeout | None = None
        self._proved = asyncio.Event()
        self._reason = "not subscribed yet"

    @property
    def up(self) -> bool:
        return self._proved.is_set()

    @property
    def down(self) -> BackplaneDown:
        """Why it is not up."""
        return BackplaneDown(f"Redis at {self._address.shown} delivers no messages: {self._reason}")

    async def open(self) -> None:
        """Wait for the first proof, while ``keep`` is at work. Raises ``BackplaneDown``."""
        try:
            await asyncio.wait_for(self._proved.wait(), self._timing.opening)
        except TimeoutError:
            raise BackplaneDown(f"{self.down}. Let this user subscribe to channels that begin with chatbox:") from None

    async def keep(self) -> None:
        """Listen, and subscribe again whenever that ends, until cancelled."""
        failures = 0
        while True:
            try:
                await self._subscribed()
            except (RedisError, OSError) as error:
                failures = 1 if self.up else failures + 1
                self._fall(str(error) or type(error).__name__)
            await asyncio.sleep(BACK_OFF.compute(failures))

    async def probe(self) -> None:
        """Ask from time to time whether anything is heard, until cancelled."""
        while True:
            await asyncio.sleep(self._timing.probe)
            self._ask()

    async def _subscribed(self) -> None:
        connection = await self._address.connect()
        try:
            await self._subscribe(connection)
            await self._listen(connection)
        finally:
            self._deadline = None
            await connection.disconnect(nowait=True)

    async def _subscribe(self, connection: AbstractConnection) -> None:
        async with asyncio.timeout(self._timing.patience):
            await connection.send_command("SUBSCRIBE", self._channel)
            await connection.read_response(disable_decoding=True)

    async def _listen(self, connection: AbstractConnection) -> None:
        try:
            async with asyncio.timeout(None) as self._deadline:
                self._ask()
                while True:
                    for _ in range(BATCH):
                        self._take(await connection.read_response(disable_decoding=True))
                    await asyncio.sleep(0)
        except TimeoutError:
            raise TimeoutError("the subscription is deaf") from None

    def _ask(self) -> None:
        if self._deadline:
            self._link.send(("PUBLISH", self._channel, PROBE), self._asked)

    def _asked(self, receivers: Reply) -> None:
        """The probe is on its way: it has to be heard soon, or at once by nobody."""
        deadline = self._deadline
        if deadline is None or isinstance(receivers, BackplaneDown) or deadline.expired():
            return
        patience = self._timing.deaf if receivers else 0.0
        if deadline.when() is None:
            deadline.reschedule(asyncio.get_running_loop().time() + patience)

    def _take(self, reply: list[bytes]) -> None:
        kind, _, message = reply
        if kind != b"message":
            return
        if message == PROBE:
            self._prove()
            return
        try:
            self._hear(message)
        except Exception:  # a receiver that fails must not deafen this node
            log.exception("an event could not be received")

    def _prove(self) -> None:
        if self._deadline and not self._deadline.expired():
            self._deadline.reschedule(None)
        if not self.up:
            self._proved.set()
            self._risen()

    def _fall(self, reason: str) -> None:
        self._reason = reason
        if self.up:
            self._proved.clear()
            log.warning("messages of other replicas are not heard; subscribing again", reason=reason)
