"""Serving the app with uvicorn: its limits, its lines, and an end in good order."""

from __future__ import annotations

import asyncio
import gc
import math
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog
import uvicorn

from chatbox.app import App, create_app
from chatbox.config import Config
from chatbox.lines import DEAD_AFTER, Request, SocketLine

log = structlog.get_logger(component="server")

Ready = Callable[[int], None]

WINDOW = 6.0
"""Seconds in which a stopping replica still listens and clients go to another one, where there may be one. Whoever asks
for readiness every few seconds has then sent no client to a port that is closed."""


class Server(uvicorn.Server):
    """Opens the app, serves, and drains the app before uvicorn closes its sockets; a second signal forces the end.

    ``ready`` is called with the port once requests are answered.
    """

    def __init__(self, settings: uvicorn.Config, app: App, ready: Ready) -> None:
        super().__init__(settings)
        self._app = app
        self._ready = ready

    async def run_until_signal(self, bound: socket.socket) -> None:
        """Serve until SIGTERM or SIGINT. A signal while the app opens ends that."""
        opening = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, opening)
        try:
            await self.run_on(bound)
        except asyncio.CancelledError:
            if not self.should_exit:
                raise
            log.info("stopped while starting")

    async def run_on(self, bound: socket.socket) -> None:
        """Open the app and serve on a bound socket until ``should_exit``."""
        async with self._app.running():
            await self._serve([bound])

    def _signalled(self, opening: asyncio.Task[Any] | None) -> None:
        if self.should_exit:
            log.warning("forced to stop")
            self.force_exit = True
        self.should_exit = True
        if opening and not self.started:
            opening.cancel()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        host, port = self.servers[0].sockets[0].getsockname()[:2]
        log.info("listening", host=host, port=port)
        self._ready(port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("stopping")
        started = time.monotonic()
        await self._drain()
        left = started + self._app.config.drain_timeout - time.monotonic()
        self.config.timeout_graceful_shutdown = math.ceil(max(1.0, left))
        await super().shutdown(sockets)
        log.info("stopped", seconds=round(time.monotonic() - started, 2))

    async def _drain(self) -> None:
        """Drain the app, listening all the while, unless a second signal forces the end."""
        drain = asyncio.ensure_future(self._app.drain(self._app.config.drain_timeout, self._window()))
        while not drain.done() and not self.force_exit:
            await asyncio.wait([drain], timeout=0.1)
        drain.cancel()
        if drain.done() and not drain.cancelled() and (error := drain.exception()):
            log.error("draining failed", exc_info=error)

    def _window(self) -> float:
        config = self._app.config
        alone = config.development and not config.redis_url
        return 0.0 if alone else min(WINDOW, config.drain_timeout / 2)


def serve(config: Config, ready: Ready) -> None:
    """Serve until a signal. ``ready`` is called with the port once requests are answered.

    Raises ``OSError`` when the address can't be bound, before anything is opened, and whatever opening the app raises.
    """
    with bind(config.server_host, config.server_port) as bound:
        app = create_app(config)
        gc.set_threshold(50_000, 20, 100)
        server = Server(settings_for(app), app, ready)
        with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
            runner.run(server.run_until_signal(bound))


def bind(host: str, port: int) -> socket.socket:
    """A socket on that address that does not listen yet; of a name with several, an IPv4 one if there is any."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, number, _, address = min(found, key=lambda item: item[0] != socket.AF_INET)
    bound = socket.socket(family, kind, number)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
    except OSError:
        bound.close()
        raise
    return bound


def settings_for(app: App) -> uvicorn.Config:
    """uvicorn's settings: own limits, no compression, and of its log only what is wrong (ours tells the rest)."""
    config = app.config
    return uvicorn.Config(
        app,
        http=Request,
        ws=SocketLine,
        loop="auto",
        lifespan="off",
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ws_max_size=config.max_message_size,
        ws_per_message_deflate=False,
        ws_ping_interval=config.ping_interval,
        ws_ping_timeout=max(1.0, DEAD_AFTER - config.ping_interval),
        proxy_headers=bool(config.trusted_proxies),
        forwarded_allow_ips=[str(network) for network in config.trusted_proxies],
        timeout_graceful_shutdown=1,
        backlog=4096,
    )
