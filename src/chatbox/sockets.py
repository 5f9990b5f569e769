"""What every socket has in common: the handshake, the token, the read loop, and every way it ends.

handshake ──refused──► plain HTTP answer
    │ accepted
attach (first frames) ──► open ──► closed
                           │ reads one frame at a time; sends go through the outbox
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, Generic, NamedTuple, TypeVar
from urllib.parse import parse_qs

import structlog

from chatbox import protocol
from chatbox.access import Gate
from chatbox.auth import Origins
from chatbox.connections import Connections, Socket
from chatbox.errors import (
    DatabaseUnavailable,
    ExpiredToken,
    Forbidden,
    InvalidToken,
    Refusal,
    StorageError,
    Unavailable,
)
from chatbox.fields import BadFrame
from chatbox.metrics import Metrics
from chatbox.outbox import Line, Outbox, Send
from chatbox.protocol import Authenticate, Close, Command, Frame
from chatbox.session import Principal, new_id
from chatbox.tasks import Tasks

log = structlog.get_logger(component="connection")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

WARN_BEFORE = 60.0
WRITE_DEADLINE = 20.0
OTHER_FRAMES = 20
MAX_ERRORS, ERROR_WINDOW = 100, 10.0
LEEWAY = 30.0


class OpenSocket(Socket):
    """An accepted socket: whose it is and until when, what goes out, and what it may do how often. Frames that are not
    about another session are about ``session_id``, if it has one."""

    session_id: str

    __slots__ = (
        "_blocked_since", "_counted", "_errors", "_gate", "_line", "_others", "_told_of_expiry", "_valid_until",
        "id", "outbox", "principal", "user_id",
    )  # fmt: skip

    def __init__(self, accepted: Accepted, gate: Gate, tasks: Tasks) -> None:
        self.id = accepted.socket_id
        self.user_id = accepted.principal.user_id
        self.outbox = Outbox(accepted.line, accepted.send, tasks)
        self._gate = gate
        self._line = accepted.line
        self._counted = 0
        self._blocked_since: float | None = None
        self._errors = Window(MAX_ERRORS, ERROR_WINDOW)
        self._others = Window(OTHER_FRAMES, 1.0)
        self.renew(accepted.principal)

    def renew(self, principal: Principal) -> None:
        """Speak for a fresh token from now on."""
        self.principal = principal
        late = principal.expires <= time.time()
        self._valid_until = principal.expires + (LEEWAY if late else 0.0)
        self._told_of_expiry = False

    @abstractmethod
    def send(self, frame: Frame) -> None:
        """Take a frame; never waits and never raises."""

    @property
    @abstractmethod
    def greeted(self) -> bool:
        """Whether the first frame has been sent."""

    def close(self, code: int, reason: str) -> None:
        self.outbox.close(code, reason)

    def abort(self) -> None:
        self._line.abort()

    @property
    def missed_ping(self) -> bool:
        return self._line.missed_ping

    @property
    def closing(self) -> bool:
        """Whether nothing more is sent or heard."""
        return self.outbox.closing

    def refuse(
        self,
        refusal: Refusal,
        message_id: str | None = None,
        session_id: str | None = None,
        *,
        recoverable: bool | None = None,
    ) -> None:
        """Send an error frame; too many of them, and the socket closes."""
        stays = refusal.recoverable if recoverable is None else recoverable
        about = session_id or self.session_id or None
        self.send(protocol.error(refusal, session_id=about, message_id=message_id, recoverable=stays))
        if not stays:
            self.close(*_fatal(refusal))
        elif not self._errors.allows():
            self.close(Close.ABUSE, "too many errors")

    def hint(self, event: str, **metadata: str) -> None:
        if self.greeted:
            self.send(protocol.notice(self.session_id or None, event, **metadata))

    def may_pass(self, command: Command) -> bool:
        """Whether a frame is within the limit of those that no other one counts."""
        return self._others.allows()

    def admitted(self) -> bool:
        """Whether whoever speaks here may go on; if not, the socket closes."""
        if self.closing:
            return False
        try:
            self._gate.check(self.principal)
        except Refusal as refusal:
            self.refuse(refusal, recoverable=False)
            return False
        return True

    def tick(self, now: float) -> int:
        if now >= self._valid_until:
            self.refuse(ExpiredToken("The token has expired."))
        elif self.admitted() and now >= self._valid_until - WARN_BEFORE and not self._told_of_expiry:
            self._told_of_expiry = True
            self.hint("token_expiring")
        self._check_writes()
        sent, self._counted = self.outbox.sent - self._counted, self.outbox.sent
        return sent

    def _check_writes(self) -> None:
        if not self.outbox.blocked:
            self._blocked_since = None
        elif self._blocked_since is None:
            self._blocked_since = time.monotonic()
        elif time.monotonic() - self._blocked_since > WRITE_DEADLINE:
            self.abort()


class Accepted(NamedTuple):
    """A handshake that has been accepted."""

    socket_id: str
    principal: Principal
    request: Handshake
    send: Send
    line: Line


class Window:
    """At most ``limit`` in ``seconds``, counted from the first."""

    __slots__ = ("_limit", "_seconds", "_start", "count")

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit, self._seconds = limit, seconds
        self._start, self.count = 0.0, 0

    def allows(self) -> bool:
        now = time.monotonic()
        if now - self._start >= self._seconds:
            self._start, self.count = now, 0
        self.count += 1
        return self.count <= self._limit


def _fatal(refusal: Refusal) -> tuple[int, str]:
    if isinstance(refusal, InvalidToken):
        return Close.TOKEN, "sign in again"
    if isinstance(refusal, Forbidden):
        return Close.FORBIDDEN, "not allowed"
    return Close.ABUSE, "refused"


S = TypeVar("S", bound=OpenSocket)
C = TypeVar("C", bound=Command)


class Endpoint(ABC, Generic[S, C]):
    """An ASGI endpoint of sockets that understand commands of the type ``C``."""

    def __init__(
        self,
        connections: Connections,
        gate: Gate,
        origins: Origins,
        metrics: Metrics,
        tasks: Tasks,
        *,
        query_token: bool,
    ) -> None:
        self._connections = connections
        self._gate = gate
        self._origins = origins
        self._metrics = metrics
        self._tasks = tasks
        self._query_token = query_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        request = Handshake(scope, self._query_token)
        socket_id = new_id()
        async with AsyncExitStack() as place:
            try:
                principal = await self._admit(request)
                await place.enter_async_context(self._connections.place(principal.user_id, socket_id))
            except Refusal as refusal:
                await _deny(send, refusal)
                return
            line = scope.get("extensions", {}).get("chatbox.line", {}).get("line") or Line()
            opened = self._open(Accepted(socket_id, principal, request, send, line))
            with self._connections.enter(opened):
                await send({"type": "websocket.accept", "subprotocol": request.subprotocol})
                await self._serve(opened, request, receive)

    async def _admit(self, request: Handshake) -> Principal:
        if not self._origins.allows(request.origin):
            raise Forbidden("This origin is not allowed.")
        principal = await self._gate.verify(request.token)
        self._allow(principal)
        return principal

    # -- what kinds of sockets differ in -------------------------------------------------------------------------------

    def _allow(self, principal: Principal) -> None:
        """Whether the user of a good token may have such a socket. Raises ``Forbidden``."""

    @abstractmethod
    def _open(self, accepted: Accepted) -> S:
        """The socket of a handshake."""

    @abstractmethod
    async def _attach(self, opened: S, request: Handshake) -> None:
        """Send the first frames. Raises ``Refusal``, ``StorageError``."""

    @abstractmethod
    async def _leave(self, opened: S) -> None:
        """The socket is gone, attached or not."""

    @abstractmethod
    def _decode(self, text: str) -> C:
        """The command in a text frame. Raises ``BadFrame``."""

    @abstractmethod
    async def _carry_out(self, opened: S, command: C) -> None:
        """Do what a command asks for; another one comes after the return. Raises ``Refusal``, ``StorageError``."""

    def _drop(self, opened: S, command: C) -> None:
        """A frame beyond the limit."""
        self._metrics.ratelimit_blocked_total.labels("other_frames").inc()

    # -- one socket ----------------------------------------------------------------------------------------------------

    async def _serve(self, opened: S, request: Handshake, receive: Receive) -> None:
        structlog.contextvars.bind_contextvars(user=opened.user_id)
        try:
            await self._begin(opened, request)
            while (message := await receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                if text is None:
                    opened.close(Close.NOT_TEXT, "text frames only")
                elif opened.admitted():
                    await self._frame(opened, text)
        finally:
            await self._leave(opened)

    async def _begin(self, opened: S, request: Handshake) -> None:
        try:
            await self._attach(opened, request)
        except (Refusal, StorageError) as error:
            log.warning("attaching failed", error=str(error))
            failure = DatabaseUnavailable("The conversation can't be opened now. Try again.")
            opened.send(protocol.error(failure))
            opened.close(Close.INTERNAL, "try again")

    async def _frame(self, opened: S, text: str) -> None:
        self._metrics.messages_received_total.inc()
        try:
            command = self._decode(text)
        except BadFrame as bad:
            self._refuse(opened, bad.refusal, bad.message_id, bad.session_id)
            return
        if opened.may_pass(command):
            await self._attempt(opened, command, self._understood(opened, command))
        else:
            self._drop(opened, command)

    async def _understood(self, opened: S, command: C) -> None:
        if isinstance(command, Authenticate):
            await self._renew(opened, command)
        else:
            await self._carry_out(opened, command)

    async def _attempt(self, opened: S, command: C, work: Awaitable[None]) -> None:
        """Do the work of a command; whatever goes wrong is told to the client."""
        try:
            await work
        except Refusal as refusal:
            self._refuse(opened, refusal, command.message_id, command.session_id)
        except StorageError as error:
            log.error("the store failed", error=str(error))
            failure = DatabaseUnavailable("The message could not be stored. Try again.", retry_after=1000)
            self._refuse(opened, failure, command.message_id, command.session_id)
        except Exception:
            log.exception("a frame failed")
            broken = Unavailable("Something went wrong. Try again.", retry_after=1000)
            self._refuse(opened, broken, command.message_id, command.session_id)

    def _refuse(self, opened: S, refusal: Refusal, message_id: str | None, session_id: str | None) -> None:
        self._metrics.message_errors_total.inc()
        opened.refuse(refusal, message_id, opened.session_id or session_id)

    async def _renew(self, opened: S, command: Authenticate) -> None:
        """A fresh token: the same user goes on, another one is put out; a bad token may be mended."""
        try:
            principal = await self._gate.verify(command.token)
            if principal.user_id != opened.user_id:
                raise Forbidden("The token is another user's.")
            self._allow(principal)
        except (InvalidToken, Forbidden) as refusal:
            opened.refuse(refusal, command.message_id, recoverable=isinstance(refusal, InvalidToken))
        else:
            opened.renew(principal)
            opened.hint("auth_ok", message_id=command.message_id)


class Handshake:
    """What an upgrade request asks for."""

    def __init__(self, scope: Scope, query_token: bool) -> None:
        headers = _headers(scope["headers"])
        raw = parse_qs(scope.get("query_string", b"").decode("latin-1"))
        self.query = {key: values[-1] for key, values in raw.items()}
        offered = [item for item in scope.get("subprotocols", []) if isinstance(item, str)]
        self.origin = headers.get("origin")
        self.subprotocol = protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None
        self.token = _token(headers, offered, self.query.get("token", "") if query_token else "")


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _token(headers: Mapping[str, str], offered: list[str], from_query: str) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    bearer = [item.removeprefix("bearer.") for item in offered if item.startswith("bearer.")]
    return bearer[0] if bearer else from_query


async def _deny(send: Send, refusal: Refusal) -> None:
    """Refuse the handshake with a plain HTTP answer."""
    log.info("handshake refused", code=str(refusal.code))
    body = protocol.refusal_body(refusal)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % -(-refusal.retry_after // 1000)))
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
