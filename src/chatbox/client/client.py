"""A conversation that survives its connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import aiohttp

from chatbox.client.api import Api
from chatbox.client.backoff import AT_ONCE, Backoff
from chatbox.client.endings import passing
from chatbox.client.events import Ack, Connected, Disconnected, Event
from chatbox.client.frames import Command, Frame, NoFrame, command
from chatbox.client.inbox import Inbox
from chatbox.client.mirror import Gap, Mirror, Position
from chatbox.client.pending import Pending
from chatbox.client.socket import HANDSHAKE, Socket
from chatbox.client.tokens import Tokens, TokenSource
from chatbox.errors import ChatboxError, ConnectionLost, Ended, InvalidToken, NotFound, Refusal, Replaced
from chatbox.session import new_id

HELD = 5.0
"""Seconds after which a connection counts as a success, as one does at once that brought the conversation further."""

LOOK = 10.0
"""Seconds after which a client to which nothing happens looks for what is due."""

MOVE = 5.0
"""Seconds in which a next socket has to be open while the old one waits."""

LATE = 900.0
"""Seconds in which an attempt that was given up may still reach the server, where it replaces a later one."""


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
        self._pending = Pending()
        self._outgoing = self._pending.outgoing
        self._mirror = Mirror(self._outgoing.get, history=history)
        self._backoff = Backoff()
        self._socket: Socket | None = None
        self._renewal: asyncio.Task[None] | None = None
        self._leaving: set[asyncio.Task[None]] = set()
        self._move_at: float | None = None
        self._late_until = 0.0
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
        return await self._ask(
            command("user_message", message_id=message_id, content=text, model_id=model_id, metadata=metadata)
        )

    async def stop(self, target: str | None = None) -> Ack:
        """Stop an answer: ``target``, else the one that is coming in. What there is of it is kept."""
        target = target or self._mirror.running
        return await self._ask(command("stop", metadata={"target": target} if target else {}))

    async def regenerate(self) -> Ack:
        """Have the last message answered again. Raises ``Conflict`` when there is none."""
        return await self._ask(command("regenerate"))

    async def select_model(self, model_id: str) -> Ack:
        """Choose who answers from now on. Raises ``NotFound``."""
        return await self._ask(command("model_select", model_id=model_id))

    async def help(self, text: str = "", *, email: str = "") -> Ack:
        """Ask for a member of staff. ``email`` is where an answer can be sent when nobody comes; it can be left, or
        changed, by asking again. Raises ``InvalidFormat`` for what is no address."""
        return await self._ask(command("help_request", content=text, metadata={"email": email} if email else {}))

    async def cancel_help(self) -> Ack:
        """No help is needed any more."""
        return await self._ask(command("help_cancel"))

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
        await asyncio.gather(*self._leaving, return_exceptions=True)
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
        try:
            await self._follow(await self._connect())
        except ChatboxError as error:
            wait, reason = await self._mend(error), str(error)
        pause = max(self._backoff.next(wait), self._move_in())
        self._move_at = None
        self._inbox.put(Disconnected(reason, pause))
        await asyncio.sleep(pause)

    async def _mend(self, error: ChatboxError) -> float | None:
        """Make a next attempt worth while. Returns the seconds that the server asks for; raises what ends it all."""
        match error:
            case InvalidToken():
                with suppress(ConnectionLost):
                    await self._tokens.after(self._used)
                return None
            case ConnectionLost():
                return error.wait
            case Gap():
                return AT_ONCE
            case NoFrame():
                return None
            case Replaced() if self._now() < self._late_until:
                return AT_ONCE
            case NotFound() if self._connected.done():
                return None
            case _:
                raise error

    async def _connect(self) -> Socket:
        """Open a socket and take the conversation up where it was."""
        try:
            await self._inbox.room()
            self._used = await self._tokens.current()
            socket = await Socket.open(self._http, f"{self._base}/ws", self._asked(), self._used)
            try:
                await self._greet(socket)
            except BaseException:
                self._leave(socket)
                raise
        except BaseException:
            self._late_until = self._now() + LATE
            raise
        return socket

    def _leave(self, socket: Socket) -> None:
        """Close a socket beside all else."""
        closing = asyncio.create_task(socket.close(), name="leaving")
        self._leaving.add(closing)
        closing.add_done_callback(self._leaving.discard)

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
            raise passing(greeting.error.refusal)
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
            raise passing(refusal) from refusal
        return [message.frame for message in found]

    async def _follow(self, socket: Socket) -> None:
        """Talk over this socket and those that the server makes the client move to. Raises the end of the last one."""
        while True:
            self._socket, since, start = socket, self._now(), self.position
            try:
                await self._flush()
                successor = await self._read(socket)
            finally:
                self._socket = None
                if self.position != start or self._now() - since > HELD:
                    self._backoff.held()
                self._leave(socket)
            socket = successor

    async def _read(self, socket: Socket) -> Socket:
        """Pass frames on. Returns the next socket when the server asked to move and another one took the client in."""
        while True:
            look_at = self._now() + LOOK
            with suppress(TimeoutError):
                async with asyncio.timeout_at(self._alarm(look_at)):
                    await self._pass_on(socket, look_at)
            if self._move_at is not None and not self._move_in() and (successor := await self._move()):
                return successor
            await self._flush()

    async def _move(self) -> Socket | None:
        """The next socket, which brings all that the old one still has. None: it can't be had yet, the old one stays in
        use, and another attempt follows when the server allows it."""
        wait = None
        try:
            async with asyncio.timeout(MOVE):
                return await self._connect()
        except InvalidToken:
            self._start_renewal()
        except ConnectionLost as error:
            wait = error.wait
        except (ChatboxError, TimeoutError):
            pass
        self._move_at = self._now() + self._backoff.next(wait)
        return None

    def _move_in(self) -> float:
        """Seconds until the server wants to see the client."""
        return max(0.0, self._move_at - self._now()) if self._move_at is not None else 0.0

    def _alarm(self, look_at: float) -> float:
        """When there is something to do, even if no frame comes."""
        return min(at for at in (look_at, self._move_at, self._outgoing.wake_at()) if at is not None)

    async def _pass_on(self, socket: Socket, look_at: float) -> None:
        """Pass frames on until one changes when the alarm has to go off."""
        alarm = self._alarm(look_at)
        while self._alarm(look_at) == alarm:
            await self._inbox.room()
            self._take(await socket.receive())
            await self._flush()

    # -- frames --------------------------------------------------------------------------------------------------------

    def _take(self, frame: Frame) -> None:
        if frame.type == "error" and self._pending.refuse(frame, self._now()):
            return
        for event in self._mirror.receive(frame):
            self._inbox.put(event)
        if frame.seq is not None:
            self._pending.settle(frame.message_id, Ack(frame.message_id, frame.seq))
        elif frame.type == "notification":
            self._heed(frame)

    def _heed(self, notice: Frame) -> None:
        """Do what the server asks for."""
        match notice.metadata.get("event"):
            case "drain":
                wait = notice.metadata.get("retry_after", "")
                self._move_at = self._now() + (int(wait) / 1000 if wait.isdecimal() else 0.0)
            case "token_expiring" if self._tokens.renewable:
                self._start_renewal()

    def _start_renewal(self) -> None:
        if self._renewal is None or self._renewal.done():
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
        waiter = self._pending.ask(command)
        await self._flush()
        return await asyncio.shield(waiter)

    async def _flush(self) -> None:
        """Send what is due."""
        while self._socket and (command := self._outgoing.due(self._now())):
            await self._socket.send(command)

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    def _finish(self, error: Exception) -> None:
        self._end = self._end or error
        self._pending.end(error)
        if not self._connected.done():
            self._connected.set_exception(error)
            self._connected.exception()
        self._inbox.stop()
