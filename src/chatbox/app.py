"""The composition root: the one place that knows every concrete class, and the table of routes."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, NamedTuple

import structlog
from fastapi import APIRouter, FastAPI
from fastapi.middleware.cors import CORSMiddleware

from chatbox import __version__
from chatbox.access import Access, Gate
from chatbox.alerting import Alerting
from chatbox.allowance import FRAMES, Allowance
from chatbox.api import ops, pages, sessions, shares, staff
from chatbox.api.guard import ADMIN_REQUESTS, Guard
from chatbox.api.middleware import LOOPBACK_HOSTS, Surroundings, answer_errors
from chatbox.api.models import PROBLEMS
from chatbox.assist import Assist
from chatbox.audit import Audit
from chatbox.auth import Authenticator, Origins
from chatbox.backplane import open_backplane
from chatbox.backplane.base import Backplane, Pool, Quotas, Window
from chatbox.canned import CannedReplies
from chatbox.chat import Chat
from chatbox.commits import Commits
from chatbox.config import Config
from chatbox.connection import ChatSocket
from chatbox.connections import SOCKETS, Connections
from chatbox.conversations import Conversations
from chatbox.draft import ReplyLimits
from chatbox.errors import StorageError
from chatbox.health import Health
from chatbox.housekeeping import Housekeeping, Periods
from chatbox.hub import Hub
from chatbox.llm import open_provider
from chatbox.llm.base import Provider
from chatbox.metrics import Metrics
from chatbox.notify import open_channels
from chatbox.protocol import Model
from chatbox.reply import ANSWERS, Replies
from chatbox.sessions import LISTENERS, Sessions
from chatbox.sockets import Endpoint
from chatbox.staff.office import POOLS, Office
from chatbox.staff.socket import StaffSocket
from chatbox.storage import open_storage
from chatbox.storage.base import CellStorage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.rotate import rotate
from chatbox.storage.telling import TellingStorage
from chatbox.storage.timed import TimedStorage
from chatbox.takeovers import Takeovers
from chatbox.tasks import Tasks

log = structlog.get_logger(component="app")

LOOPBACK_ORIGINS = ("http://localhost:*", "http://127.0.0.1:*")


CLOSING, CLOSING_EACH = 2.0, 0.02
"""Seconds of a drain that are kept for closing sockets, and for each of them: on a busy machine it takes that long."""


class Parts(NamedTuple):
    """What the service stands on."""

    cells: CellStorage
    backplane: Backplane
    quotas: Quotas
    providers: Mapping[str, Provider]


class App:
    """The service as an ASGI application: WebSockets go straight to their endpoint, the rest through FastAPI.

    Starting it opens the store, the models and the background tasks; stopping closes them in reverse.
    """

    def __init__(self, config: Config, parts: Parts) -> None:
        self.config = config
        self.metrics = Metrics(mongodb=config.store_url.startswith("mongodb"))
        self.tasks = Tasks()
        self._cells = parts.cells
        timed = TimedStorage(EncryptedStorage(self._cells, config.keyring), self.metrics.storage_timers)
        self.storage = TellingStorage(timed)
        self.backplane = parts.backplane
        self.quotas = parts.quotas
        self.providers = parts.providers
        self.authenticator = _authenticator(config)
        self.origins = Origins(config.allowed_origins, config.development)
        self.connections = Connections(config.max_connections, self.quotas, self.metrics)
        self.hub = Hub(self.storage, self.backplane, self.tasks)
        self.replies = self._build_replies()
        self.sessions = Sessions(
            self.storage,
            self.backplane,
            self.quotas,
            self.hub,
            self.replies,
            self.metrics,
            reconnect_timeout=config.reconnect_timeout,
        )
        self.access = Access(self.storage.records, self.hub, self.backplane)
        self.gate = Gate(self.authenticator, self.access)
        commits = Commits(self.storage, self.backplane, self.hub)
        self.chat = self._build_chat(commits)
        self.takeovers = Takeovers(self.storage, commits, self.replies, self.metrics)
        self.conversations = Conversations(self.storage)
        self.audit = Audit(self.storage.records)
        self.office = self._build_staff()
        self.alerting = self._build_alerts(commits)
        self.health = Health(self.storage, self.backplane, self.providers, self.connections)
        self.housekeeping = Housekeeping(self.storage, self.hub, self.sessions, self.replies, _periods(config))
        self.metrics.active_sessions_total.set_function(lambda: self.hub.active)
        self._sockets = self._build_sockets()
        self._http = self._build_http()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        endpoint = self._sockets.get(scope["path"]) if scope["type"] == "websocket" else None
        await (endpoint or self._http)(scope, receive, send)

    async def drain(self, seconds: float, window: float = 0.0) -> None:
        """Take no new sockets, let answers finish, give clients ``window`` s to go elsewhere, close all sockets; done
        within ``seconds``."""
        deadline = time.monotonic() + seconds
        closing = min(seconds / 4, CLOSING + CLOSING_EACH * len(self.connections))
        self.connections.warn(window)
        await asyncio.gather(asyncio.sleep(window), self.replies.drain(deadline - closing))
        await self.connections.close_all(deadline)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Everything open and at work."""
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(self.storage)
            await stack.enter_async_context(self.backplane)
            await stack.enter_async_context(self.quotas)
            for provider in self.providers.values():
                await stack.enter_async_context(provider)
            await stack.enter_async_context(self.alerting)
            await stack.enter_async_context(self.tasks)
            await self.access.load()
            recovered = await self.housekeeping.settle()
            self._start_background()
            gc.collect()
            gc.freeze()
            log.info("ready", version=__version__, models=list(self.providers), unfinished_answers_closed=recovered)
            try:
                yield
            finally:
                await self.drain(0.0 if self.connections.draining else self.config.drain_timeout)

    def _start_background(self) -> None:
        self.tasks.keep(self.connections.run, "connections")
        self.tasks.keep(self.access.watch, "access")
        self.tasks.keep(self.housekeeping.run, "housekeeping")
        self.tasks.keep(self.housekeeping.watch, "watch")
        interval = self.config.rate_limit_cleanup_interval
        self.tasks.keep(lambda: self.quotas.clean(interval), "quotas")
        self.tasks.keep(self.health.watch_loop, "loop lag")
        self.tasks.keep(self.health.watch_providers, "providers")
        self.alerting.start(self.tasks)
        self.office.start()
        if len(self.config.keyring) > 1:
            self.tasks.start(self._rotate_keys(), "key rotation")

    async def _rotate_keys(self) -> None:
        """While older keys are configured, renew what they sealed; then they may go."""
        keyring = self.config.keyring
        try:
            renewed = await rotate(self._cells, keyring, lambda _: None)
        except StorageError as error:
            log.error("keys not rotated; the older ones stay needed", key=keyring.current, error=str(error))
        else:
            log.info("keys rotated; the older ones may go", key=keyring.current, renewed=renewed)

    def _build_replies(self) -> Replies:
        return Replies(
            self.storage,
            self.backplane,
            self.quotas,
            self.hub,
            self.providers,
            _reply_limits(self.config),
            self.metrics,
            self.tasks,
        )

    def _build_chat(self, commits: Commits) -> Chat:
        config = self.config
        allowance = Allowance(
            self.storage,
            self.quotas,
            self.metrics,
            answers=config.user_max_answers,
            tokens=config.user_token_budget,
        )
        return Chat(
            self.storage,
            self.backplane,
            self.quotas,
            self.hub,
            self.replies,
            self.sessions,
            allowance,
            commits,
            self.tasks,
            models=tuple(Model(settings.id, settings.name) for settings in config.providers),
        )

    def _build_alerts(self, commits: Commits) -> Alerting:
        channels = open_channels(self.config)
        presence = self.office.presence
        alerting = Alerting(self.storage, commits, channels, self.metrics, self.connections, presence, self.config)
        self.storage.follow(alerting.heard)
        return alerting

    def _build_staff(self) -> Office:
        return Office(
            self.storage,
            self.backplane,
            self.quotas,
            self.hub,
            self.conversations,
            self.takeovers,
            self.audit,
            Assist(self.storage, self.providers, self.metrics),
            self.config.keyring,
            self.tasks,
            away=self.config.staff_away_timeout,
        )

    def _build_sockets(self) -> dict[str, Endpoint[Any, Any]]:
        prefix = self.config.path_prefix
        return {f"{prefix}/ws": self._chat_socket(), f"{prefix}/admin/ws": self._staff_socket()}

    def _staff_socket(self) -> StaffSocket:
        query_token = self.config.allow_query_token
        return self.office.socket(self.connections, self.gate, self.origins, self.metrics, query_token=query_token)

    def _chat_socket(self) -> ChatSocket:
        return ChatSocket(
            self.chat,
            self.connections,
            self.gate,
            self.origins,
            self.metrics,
            self.tasks,
            query_token=self.config.allow_query_token,
            seen=self.office.news.look,
        )

    def _build_http(self) -> Surroundings:
        config = self.config
        app = FastAPI(
            title="Chatbox",
            version=__version__,
            lifespan=lambda _: self.running(),
            openapi_url=f"{config.path_prefix}/openapi.json",
            docs_url=None,
            redoc_url=None,
            redirect_slashes=False,
        )
        answer_errors(app)
        guard = Guard(self.gate)
        for router in (
            sessions.routes(guard, self.sessions, self.conversations),
            shares.routes(guard, self.sessions, self.conversations, self.quotas),
            self._staff_routes(),
            ops.routes(self.health, self.metrics, config.metrics_allowed_networks, self._page_settings()),
            pages.routes(config.path_prefix, self._frame_ancestors()),
        ):
            app.include_router(router, prefix=config.path_prefix, responses=PROBLEMS)
        if origins := config.cors_allowed_origins or config.allowed_origins:
            app.add_middleware(
                CORSMiddleware,
                allow_origins=list(origins),
                allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
                allow_headers=["Authorization", "Content-Type"],
                expose_headers=["Retry-After"],
                max_age=600,
            )
        hosts = LOOPBACK_HOSTS if config.development else None
        return Surroundings(app, self.metrics, hosts=hosts, max_body=config.max_message_size)

    def _staff_routes(self) -> APIRouter:
        return staff.routes(
            staff.Needs(
                self.gate,
                self.office.presence,
                self.access,
                self.audit,
                CannedReplies(self.storage.records),
                self.storage,
                self.quotas,
                self.metrics,
                self.conversations,
                self.takeovers,
            )
        )

    def _frame_ancestors(self) -> tuple[str, ...]:
        loopback = LOOPBACK_ORIGINS if self.config.development and not self.config.allowed_origins else ()
        return (*self.config.allowed_origins, *loopback)

    def _page_settings(self) -> dict[str, Any]:
        default = self.config.providers[0]
        return {
            "mode": self.config.mode,
            "demo_model": default.type == "local" and not default.model,
            "allowed_origins": list(self.config.allowed_origins),
            "prefix": self.config.path_prefix,
        }


def create_app(config: Config) -> App:
    """The service, to be served by itself or mounted into another ASGI application."""
    return App(config, open_parts(config))


def open_parts(config: Config) -> Parts:
    """What the configuration names, not yet opened. Raises ``ConfigError``."""
    return Parts(
        open_storage(config),
        *open_backplane(config.redis_url, config.keyring, *shared_counts(config)),
        {settings.id: open_provider(settings) for settings in config.providers},
    )


def shared_counts(config: Config) -> tuple[dict[str, Window], dict[str, Pool]]:
    """The windows and the pools that all replicas share."""
    windows = {
        FRAMES: Window(config.rate_limit, 60.0),
        ADMIN_REQUESTS: Window(config.admin_rate_limit, config.admin_rate_window),
        shares.LIMIT: Window(60, 60.0),
    }
    pools = {
        SOCKETS: Pool(config.max_connections_per_user),
        LISTENERS: Pool(linger=config.reconnect_timeout),
        ANSWERS: Pool(),
        **POOLS,
    }
    return windows, pools


def _authenticator(config: Config) -> Authenticator:
    return Authenticator(
        secret=config.jwt_secret.get_secret_value() if config.jwt_secret else "",
        jwks_url=config.jwks_url,
        issuer=config.jwt_issuer,
        audience=config.jwt_audience,
    )


def _reply_limits(config: Config) -> ReplyLimits:
    return ReplyLimits(
        system_prompt=config.llm_system_prompt, total=config.llm_stream_timeout, max_size=config.max_answer_size
    )


def _periods(config: Config) -> Periods:
    return Periods(
        interval=config.session_cleanup_interval,
        session_ttl=config.session_ttl,
        reconnect_timeout=config.reconnect_timeout,
        retention_days=config.retention_days,
    )
