"""A conversation that survives its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import aiohttp

from chatbox.client.api import Api
from chatbox.client.backoff import Backoff
from chatbox.client.events import Ack, Connected, Disconnected, Event
from chatbox.client.frames import Command, Frame, NoFrame
from chatbox.client.inbox import Inbox
from chatbox.client.mirror import Gap, Mirror, Position
from chatbox.client.outgoing import Outgoing
from chatbox.client.socket import HANDSHAKE, Socket
from chatbox.client.tokens import Tokens, TokenSource
from chatbox.errors import ConnectionLost, Ended, InvalidFormat, InvalidToken, Refusal
from chatbox.protocol import MAX_CONTENT
from chatbox.session import new_id

HELD = 5.0
"""Seconds after which a connection counts as a success, as one does at once that brought the conversation further."""

PATIENCE = 90.0
"""The longest wait that the server may ask for before a command is tried again; beyond it, the command fails."""


class ChatClient:
    """One session of one user: ``async with ChatClient("https://example.com/chatbox", token=…) as chat``.

    Entering does not wait for the server. The client connects by itself, again and again, resumes where it was, and
    tells in ``events()`` what happened meanwhile, in order and each thing once. What is to be sent is kept and sent
    again under the same id until the server has acknowledged it.

    ``token`` is a token or a coroutine function that gets a fresh one; with a function, tokens are renewed before they
    expire. ``session_id`` names a session, ``"new"`` begins one; else it is the user's active one. ``history``: events
    begin with what was said before. ``http`` is used, and left open, if given. ``api`` has the HTTP routes.
    """

    api: Api
    _http: aiohttp.ClientSession
    _connected: asyncio.Future[Connected]
    _runner: asyncio.Task[None]

    def __init__(
        self,
        base_url: str,
        *,
        token: TokenSource,
        session_id: str = "",
        history: bool = False,
        http: aiohttp.ClientSession | None = None,
    ) -> None:
        self._base = base_url.rstrip("/")
        self._wanted = session_id
        self._client = new_id()
        self._tokens = Tokens(token)
        self._used = ""
        self._given_http = http
        self._inbox = Inbox()
        self._outgoing = Outgoing()
        self._mirror = Mirror(self._outgoing.get, history=history)
        self._backoff = Backoff()
        self._waiters: dict[str, asyncio.Future[Ack]] = {}
        self._socket: Socket | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._move_at: float | None = None
        self._end: Exception | None = None

    # -- what an application uses --------------------------------------------------------------------------------------

    @property
    def position(self) -> Position | None:
        """Session, epoch and position of what ``events()`` has been given so far; None before the first connection."""
        return self._mirror.position

    async def ready(self) -> Connected:
        """Wait for the first connection. Raises what ``events()`` raises."""
        return await asyncio.shield(self._connected)

    async def events(self) -> AsyncIterator[Event]:
        """What happens, until the client or its session ends.

        Read them all the time, beside whatever waits for ``say`` and the like: while a thousand events lie unread, the
        client reads nothing more from the server, acknowledgements included.
        Raises ``InvalidToken``, ``Forbidden``, ``NotFound`` (no Chatbox at this address) or ``Replaced`` when the
        client can't go on.
        """
        while (event := await self._inbox.get()) is not None:
            yield event
        if self._end and not isinstance(self._end, Ended):
            raise self._end

    async def say(
        self,
        text: str,
        *,
        model_id: str | None = None,
        metadata: dict[str, str] | None = None,
        message_id: str | None = None,
    ) -> Ack:
        """Say something; returns when it is stored.

        Waits through lost connections and through limits that pass within a minute or so. Giving up (cancelling) does
        not take it back. Raises a ``Refusal`` for what will not be stored, ``TooManyPending``, ``Ended``.
        """
        if len(text) > MAX_CONTENT:
            raise InvalidFormat(f"A message has at most {MAX_CONTENT} characters.")
        command = Command(
            type="user_message",
            message_id=message_id or new_id(),
            content=text,
            model_id=model_id,
            metadata=metadata or {},
        )
        return await self._ask(command)

    async def stop(self, target: str | None = None) -> Ack:
        """Stop an answer: ``target``, else the one that is coming in. What there is of it is kept."""
        target = target or self._mirror.running
        return await self._ask(Command(type="stop", metadata={"target": target} if target else {}))

    async def regenerate(self) -> Ack:
        """Have the last message answered again. Raises ``Conflict`` when there is none."""
        return await self._ask(Command(type="regenerate"))

    async def select_model(self, model_id: str) -> Ack:
        """Choose who answers from now on. Raises ``NotFound``."""
        return await self._ask(Command(type="model_select", model_id=model_id))

    async def help(self, text: str = "") -> Ack:
        """Ask for a member of staff."""
        return await self._ask(Command(type="help_request", content=text))

    async def cancel_help(self) -> Ack:
        """No help is needed any more."""
        return await self._ask(Command(type="help_cancel"))

    async def typing(self) -> None:
        """Tell the others that something is being typed. Not kept when there is no connection."""
        if self._socket:
            await self._socket.send(Command(type="typing_indicator"))

    async def __aenter__(self) -> Self:
        self._http = self._given_http or aiohttp.ClientSession()
        self.api = Api(self._base, self._tokens, self._http)
        self._connected = asyncio.get_running_loop().create_future()
        self._runner = asyncio.create_task(self._run(), name="chat client")
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in (self._runner, self._renewal):
            if task:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._http is not self._given_http:
            await self._http.close()

    # -- one connection after another ----------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            while True:
                await self._attempt()
        except Exception as error:  # noqa: BLE001 - raised by events() and by whatever waits
            self._finish(error)
        finally:
            self._finish(Ended("the client is closed"))

    async def _attempt(self) -> None:
        """Live through one connection, and wait as long as is good before the next."""
        wait = None
        try:
            await self._follow(await self._connect())
        except InvalidToken as error:
            await self._tokens.after(self._used)
            reason = str(error)
        except ConnectionLost as error:
            reason, wait = str(error), error.wait
        except (Gap, NoFrame) as error:
            reason = str(error)
        pause = self._backoff.next(wait)
        self._inbox.put(Disconnected(reason, pause))
        await asyncio.sleep(pause)

    async def _connect(self) -> Socket:
        """Open a socket and take the conversation up where it was."""
        await self._inbox.room()
        self._used = await self._tokens.current()
        socket = await Socket.open(self._http, f"{self._base}/ws", self._asked(), self._used)
        try:
            await self._greet(socket)
        except BaseException:
            await socket.close()
            raise
        return socket

    def _asked(self) -> dict[str, str]:
        asked = {"client": self._client}
        if at := self._mirror.position:
            asked |= {"session_id": at.session_id, "epoch": at.epoch, "last_seq": str(at.seq)}
        elif self._wanted:
            asked["session_id"] = self._wanted
        return asked

    async def _greet(self, socket: Socket) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE):
                greeting = await socket.receive()
        except TimeoutError:
            raise ConnectionLost("the server said nothing") from None
        if greeting.type == "error":
            raise ConnectionLost(greeting.error.message)
        for event in self._mirror.greet(greeting, await self._missed(greeting)):
            self._inbox.put(event)
            if isinstance(event, Connected) and not self._connected.done():
                self._connected.set_result(event)
        self._outgoing.disconnected()
        self._move_at = None

    async def _missed(self, greeting: Frame) -> list[Frame]:
        """What the server will not replay, read by HTTP."""
        missing = self._mirror.missing(greeting)
        if missing is None:
            return []
        try:
            found = await self.api.messages(greeting.session_id, after=missing.after, until=missing.until)
        except InvalidToken:
            raise
        except Refusal as refusal:
            raise ConnectionLost(refusal.message, (refusal.retry_after or 0) / 1000) from refusal
        return [message.frame for message in found]

    async def _follow(self, socket: Socket) -> None:
        """Talk over this socket and those that the server makes the client move to. Raises the end of the last one."""
        loop = asyncio.get_running_loop()
        while True:
            self._socket, since, start = socket, loop.time(), self.position
            try:
                await self._flush()
                successor = await self._read(socket)
            finally:
                self._socket = None
                if self.position != start or loop.time() - since > HELD:
                    self._backoff.held()
                await socket.close()
            socket = successor

    async def _read(self, socket: Socket) -> Socket:
        """Pass frames on. Returns the next socket when the server asked to move and another one took the client in."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                async with asyncio.timeout_at(self._alarm()):
                    await self._pass_on(socket)
            except TimeoutError:
                if self._move_at is not None and loop.time() >= self._move_at:
                    self._move_at = None
                    with suppress(ConnectionLost):
                        return await self._connect()
            await self._flush()

    def _alarm(self) -> float | None:
        """When there is something to do, even if no frame comes."""
        times = [at for at in (self._move_at, self._outgoing.wake_at()) if at is not None]
        return min(times, default=None)

    async def _pass_on(self, socket: Socket) -> None:
        """Pass frames on until one changes when the alarm has to go off."""
        alarm = self._alarm()
        while self._alarm() == alarm:
            await self._inbox.room()
            self._take(await socket.receive())
            await self._flush()

    # -- frames --------------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        if frame.type == "error" and self._refused(frame):
            return
        for event in self._mirror.receive(frame):
            self._inbox.put(event)
        if frame.seq is not None:
            self._settle(frame.message_id, Ack(frame.message_id, frame.seq))
        elif frame.type == "notification":
            self._heed(frame)

    def _refused(self, frame: Frame) -> bool:
        """Whether an error is the answer to someone who waits; one that passes is an event, and waited out."""
        error, command = frame.error, self._outgoing.get(frame.message_id)
        if command is None or not error.recoverable:
            return False
        if error.retry_after is None or error.retry_after > PATIENCE * 1000:
            self._settle(frame.message_id, error.refusal)
            return True
        self._outgoing.postpone(frame.message_id, asyncio.get_running_loop().time() + error.retry_after / 1000)
        return False

    def _settle(self, message_id: str, outcome: Ack | Exception) -> None:
        self._outgoing.settle(message_id)
        waiter = self._waiters.pop(message_id, None)
        if waiter is None or waiter.done():
            return
        if isinstance(outcome, Ack):
            waiter.set_result(outcome)
        else:
            waiter.set_exception(outcome)
            waiter.exception()

    def _heed(self, notice: Frame) -> None:
        """Do what the server asks for."""
        match notice.metadata.get("event"):
            case "drain":
                wait = notice.metadata.get("retry_after", "")
                self._move_at = asyncio.get_running_loop().time() + (int(wait) / 1000 if wait.isdecimal() else 0.0)
            case "token_expiring" if self._tokens.renewable:
                self._renewal = asyncio.create_task(self._renew(), name="token renewal")

    async def _renew(self) -> None:
        """Send a fresh token. Without one the server closes with 4401, and the source is asked again."""
        with suppress(ConnectionLost, InvalidToken):
            self._used = await self._tokens.after(self._used)
            if self._socket:
                await self._socket.send(Command(type="auth", content=self._used))

    # -- commands ------------------------------------------------------------------------------------------------------

    async def _ask(self, command: Command) -> Ack:
        if self._end:
            raise self._end
        waiter = self._waiters.get(command.message_id)
        if waiter is None:
            self._outgoing.add(command)
            waiter = self._waiters[command.message_id] = asyncio.get_running_loop().create_future()
            await self._flush()
        return await asyncio.shield(waiter)

    async def _flush(self) -> None:
        """Send what is due."""
        if self._socket:
            for command in self._outgoing.due(asyncio.get_running_loop().time()):
                await self._socket.send(command)

    def _finish(self, error: Exception) -> None:
        self._end = self._end or error
        for message_id in list(self._waiters):
            self._settle(message_id, error)
        if not self._connected.done():
            self._connected.set_exception(error)
            self._connected.exception()
        self._inbox.stop()
