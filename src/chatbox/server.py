"""Serving the app with uvicorn: its limits, its lines, and an end in good order."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import time
from collections.abc import Callable
from typing import Any

import structlog
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from chatbox.app import App, create_app
from chatbox.config import Config
from chatbox.outbox import Line

log = structlog.get_logger(component="server")

Ready = Callable[[int], None]

HANDSHAKE = 10.0
DEAD_AFTER = 60.0
MAX_FRAGMENTS = 1000
MAX_HEAD = 1 << 16
ABUSE = 1008


class SocketLine(WebSocketsSansIOProtocol, Line):
    """A WebSocket's TCP line: offers itself to the endpoint, and refuses messages in a thousand fragments."""

    def offer(self, frame: bytes) -> bool:
        """Write past uvicorn's ``send``, which takes twice as long for the same bytes."""
        if self.disconnected or self.close_sent:
            return True
        if not self.writable.is_set():
            return False
        self.transport.write(frame)
        return True

    @property
    def missed_ping(self) -> bool:
        """Whether a ping waits for its pong for longer than a slow line needs."""
        return self.pending_ping_payload is not None and self.loop.time() - self.ping_sent_at > DEAD_AFTER / 12

    def abort(self) -> None:
        """Drop the line without waiting for anything."""
        self.transport.abort()

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        if self.handshake_initiated and not self.handshake_complete:
            self.scope["extensions"]["chatbox.line"] = {"line": self}

    async def send(self, message: Any) -> None:
        await super().send(message)
        if message["type"] == "websocket.http.response.body":
            self.handshake_complete = True  # else uvicorn logs a refused handshake as an error

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
        elif not self.close_sent:
            self.conn.send_close(ABUSE, "too many fragments")
            self.handle_parser_exception()


class Request(HttpToolsProtocol):
    """An HTTP connection that has to send its first request's head within 10 s, and none over 64 KiB."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._due = self.loop.call_later(HANDSHAKE, self._give_up)
        self._reading_head = True
        self._head_size = 0

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._head_size = self._head_size + len(data) if self._reading_head else 0
        if self._head_size > MAX_HEAD and not self.transport.is_closing():
            self.send_400_response("The request's head is too big.")

    def on_message_begin(self) -> None:
        self._reading_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._reading_head = False
        self._due.cancel()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._due.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


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
        drain = asyncio.ensure_future(self._app.drain(self._app.config.drain_timeout))
        while not drain.done() and not self.force_exit:
            await asyncio.wait([drain], timeout=0.1)
        drain.cancel()
        await super().shutdown(sockets)
        log.info("stopped", seconds=round(time.monotonic() - started, 2))


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
        timeout_graceful_shutdown=2,
        backlog=4096,
    )
