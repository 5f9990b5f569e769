"""One socket: the handshake, the read loop, and every way it ends.

handshake ──refused──► plain HTTP answer
    │ accepted
attach (first frame, replay) ──► open ──► closed
                                  │ reads one frame at a time; sends go through the outbox
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import parse_qs

import structlog

from chatbox import protocol
from chatbox.auth import Authenticator, Origins
from chatbox.backplane.base import Piece
from chatbox.chat import Asked, Caller, Chat
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
from chatbox.hub import Position
from chatbox.metrics import Metrics
from chatbox.outbox import Line, Outbox, Send
from chatbox.protocol import Authenticate, Close, Frame, Inbound
from chatbox.room import Listener
from chatbox.session import Principal, new_id
from chatbox.strictjson import MAX_INT
from chatbox.tasks import Tasks

log = structlog.get_logger(component="connection")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

WARN_BEFORE = 60.0
WRITE_DEADLINE = 20.0
OTHER_FRAMES = 20
MAX_ERRORS, ERROR_WINDOW = 100, 10.0
LEEWAY = 30.0

STORED = (protocol.Say, protocol.SendFile, protocol.Regenerate, protocol.AskHelp)


class Connection(Listener, Socket):
    """An accepted socket. Its reader is the task that runs ``run``; nothing else changes its session."""

    __slots__ = (
        "_blocked_since", "_counted", "_errors", "_line", "_others", "_outbox", "_told_of_expiry", "_valid_until",
        "client", "id", "joined", "position", "principal", "sending", "session_id", "user_id",
    )  # fmt: skip

    def __init__(self, socket_id: str, principal: Principal, client: str, send: Send, line: Line, tasks: Tasks) -> None:
        self.id = socket_id
        self.user_id = principal.user_id
        self.client = client
        self.joined = 0
        self.session_id = ""
        self.position = 0
        self.sending: set[str] = set()
        self._outbox = Outbox(line, send, tasks)
        self._line = line
        self._counted = 0
        self._blocked_since: float | None = None
        self._errors = _Window(MAX_ERRORS, ERROR_WINDOW)
        self._others = _Window(OTHER_FRAMES, 1.0)
        self.renew(principal)

    def renew(self, principal: Principal) -> None:
        """Speak for a fresh token from now on."""
        self.principal = principal
        late = principal.expires <= time.time()
        self._valid_until = principal.expires + (LEEWAY if late else 0.0)
        self._told_of_expiry = False

    def send(self, frame: Frame, piece: Piece | None = None) -> None:
        if piece is None:
            self._outbox.put(frame)
        else:
            self._outbox.put_piece(frame, self.session_id, self.position, piece)

    def close(self, code: int, reason: str) -> None:
        self._outbox.close(code, reason)

    def abort(self) -> None:
        self._line.abort()

    def hint(self, event: str, **metadata: str) -> None:
        if self.session_id:  # nothing comes before the first frame
            self.send(protocol.notice(self.session_id, event, **metadata))

    @property
    def missed_ping(self) -> bool:
        return self._line.missed_ping

    @property
    def closing(self) -> bool:
        """Whether nothing more is sent or heard."""
        return self._outbox.closing

    def refuse(self, refusal: Refusal, message_id: str | None = None, *, recoverable: bool | None = None) -> None:
        """Send an error frame; too many of them, and the socket closes."""
        stays = refusal.recoverable if recoverable is None else recoverable
        self.send(protocol.error(refusal, session_id=self.session_id, message_id=message_id, recoverable=stays))
        if not stays:
            self.close(*_fatal(refusal))
        elif not self._errors.allows():
            self.close(Close.ABUSE, "too many errors")

    def may_pass(self, command: Inbound) -> bool:
        """Whether a frame that is not stored is within its limit."""
        return isinstance(command, STORED) or self._others.allows()

    def tick(self, now: float) -> int:
        if now >= self._valid_until:
            self.refuse(ExpiredToken("The token has expired."))
        elif now >= self._valid_until - WARN_BEFORE and not self._told_of_expiry:
            self._told_of_expiry = True
            self.hint("token_expiring")
        self._check_writes()
        sent, self._counted = self._outbox.sent - self._counted, self._outbox.sent
        return sent

    def _check_writes(self) -> None:
        if not self._outbox.blocked:
            self._blocked_since = None
        elif self._blocked_since is None:
            self._blocked_since = time.monotonic()
        elif time.monotonic() - self._blocked_since > WRITE_DEADLINE:
            self.abort()


class _Window:
    """At most ``limit`` in ``seconds``, counted from the first."""

    __slots__ = ("_count", "_limit", "_seconds", "_start")

    def __init__(self, limit: int, seconds: float) -> None:
        self._limit, self._seconds = limit, seconds
        self._start, self._count = 0.0, 0

    def allows(self) -> bool:
        now = time.monotonic()
        if now - self._start >= self._seconds:
            self._start, self._count = now, 0
        self._count += 1
        return self._count <= self._limit


def _fatal(refusal: Refusal) -> tuple[int, str]:
    if isinstance(refusal, InvalidToken):
        return Close.TOKEN, "sign in again"
    if isinstance(refusal, Forbidden):
        return Close.FORBIDDEN, "not allowed"
    return Close.ABUSE, "refused"


class ChatSocket:
    """The ASGI endpoint of a user's own chat."""

    def __init__(
        self,
        chat: Chat,
        connections: Connections,
        authenticator: Authenticator,
        origins: Origins,
        metrics: Metrics,
        tasks: Tasks,
        *,
        query_token: bool,
    ) -> None:
        self._chat = chat
        self._connections = connections
        self._authenticator = authenticator
        self._origins = origins
        self._metrics = metrics
        self._tasks = tasks
        self._query_token = query_token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        request = _Handshake(scope, self._query_token)
        socket_id = new_id()
        async with AsyncExitStack() as place:
            try:
                principal = await self._admit(request)
                await place.enter_async_context(self._connections.place(principal.user_id, socket_id))
            except Refusal as refusal:
                await _deny(send, refusal)
                return
            line = scope.get("extensions", {}).get("chatbox.line", {}).get("line") or Line()
            connection = Connection(socket_id, principal, request.client, send, line, self._tasks)
            with self._connections.enter(connection):
                await send({"type": "websocket.accept", "subprotocol": request.subprotocol})
                await self._serve(connection, request, receive)

    async def _admit(self, request: _Handshake) -> Principal:
        if not self._origins.allows(request.origin):
            raise Forbidden("This origin is not allowed.")
        return await self._authenticator.verify(request.token)

    async def _serve(self, connection: Connection, request: _Handshake, receive: Receive) -> None:
        structlog.contextvars.bind_contextvars(user=connection.user_id)
        try:
            await self._attach(connection, request)
            while (message := await receive())["type"] != "websocket.disconnect":
                text = message.get("text")
                if text is None:
                    connection.close(Close.NOT_TEXT, "text frames only")
                elif not connection.closing:
                    await self._frame(connection, text)
        finally:
            await self._chat.leave(connection)

    async def _attach(self, connection: Connection, request: _Handshake) -> None:
        try:
            session = await self._chat.attach(connection.principal, connection, request.asked)
        except (Refusal, StorageError) as error:
            log.warning("attaching failed", error=str(error))
            connection.send(protocol.error(DatabaseUnavailable("The conversation can't be opened now. Try again.")))
            connection.close(Close.INTERNAL, "try again")
        else:
            structlog.contextvars.bind_contextvars(session=session.id)

    async def _frame(self, connection: Connection, text: str) -> None:
        self._metrics.messages_received_total.inc()
        try:
            command = protocol.decode(text)
        except BadFrame as bad:
            self._refuse(connection, bad.refusal, bad.message_id)
            return
        if not connection.may_pass(command):
            self._metrics.ratelimit_blocked_total.labels("other_frames").inc()
            return
        try:
            await self._carry_out(connection, command)
        except Refusal as refusal:
            self._refuse(connection, refusal, command.message_id)
        except StorageError as error:
            log.error("the store failed", error=str(error))
            failure = DatabaseUnavailable("The message could not be stored. Try again.", retry_after=1000)
            self._refuse(connection, failure, command.message_id)
        except Exception:
            log.exception("a frame failed")
            broken = Unavailable("Something went wrong. Try again.", retry_after=1000)
            self._refuse(connection, broken, command.message_id)

    async def _carry_out(self, connection: Connection, command: Inbound) -> None:
        if isinstance(command, Authenticate):
            await self._renew(connection, command)
        else:
            await self._chat.handle(Caller(connection.principal, connection.session_id, connection), command)

    def _refuse(self, connection: Connection, refusal: Refusal, message_id: str | None) -> None:
        self._metrics.message_errors_total.inc()
        connection.refuse(refusal, message_id)

    async def _renew(self, connection: Connection, command: Authenticate) -> None:
        """A fresh token: the same user goes on, another one is put out; a bad token may be mended."""
        try:
            principal = await self._authenticator.verify(command.token)
        except InvalidToken as refusal:
            connection.refuse(refusal, command.message_id, recoverable=True)
            return
        if principal.user_id != connection.user_id:
            connection.refuse(Forbidden("The token is another user's."), command.message_id, recoverable=False)
            return
        connection.renew(principal)
        connection.hint("auth_ok", message_id=command.message_id)


class _Handshake:
    """What an upgrade request asks for."""

    def __init__(self, scope: Scope, query_token: bool) -> None:
        headers = _headers(scope["headers"])
        query = {key: values[-1] for key, values in parse_qs(scope.get("query_string", b"").decode("latin-1")).items()}
        offered = [item for item in scope.get("subprotocols", []) if isinstance(item, str)]
        self.origin = headers.get("origin")
        self.subprotocol = protocol.SUBPROTOCOL if protocol.SUBPROTOCOL in offered else None
        self.token = _token(headers, offered, query.get("token", "") if query_token else "")
        self.client = query.get("client", "")[:64]
        self.asked = _asked(query)


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    return {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in raw}


def _token(headers: Mapping[str, str], offered: list[str], from_query: str) -> str:
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token:
        return token.strip()
    bearer = [item.removeprefix("bearer.") for item in offered if item.startswith("bearer.")]
    return bearer[0] if bearer else from_query


def _asked(query: Mapping[str, str]) -> Asked:
    session_id = query.get("session_id", "")[:128]
    last = query.get("last_seq", "")
    if not last:
        return Asked(session_id)
    seq = int(last) if last.isascii() and last.isdigit() and len(last) <= 16 else MAX_INT
    return Asked(session_id, Position(query.get("epoch", ""), seq))


async def _deny(send: Send, refusal: Refusal) -> None:
    """Refuse the handshake with a plain HTTP answer."""
    log.info("handshake refused", code=str(refusal.code))
    body = protocol.refusal_body(refusal)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refusal.retry_after is not None:
        headers.append((b"retry-after", b"%d" % -(-refusal.retry_after // 1000)))
    await send({"type": "websocket.http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
