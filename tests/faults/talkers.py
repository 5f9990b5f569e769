"""Users: each has one conversation, says things in it from one device and listens on all of its devices.

Devices are the shipped Python client. What it tells goes into the history, and beside it what came over the wire, so
that a client can't hide what a server did wrong.
"""

from __future__ import annotations

import asyncio
import json
import traceback
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from itertools import count
from typing import Any, Self

import aiohttp

from chatbox.client import (
    Answer,
    Api,
    ChatClient,
    Connected,
    Disconnected,
    Event,
    Loading,
    Message,
    Piece,
    Problem,
    Reset,
)
from chatbox.client.tokens import Tokens
from chatbox.errors import ChatboxError, Refusal
from chatbox.session import new_id
from tests.faults.history import FAIL, INFO, INVOKE, OK, History
from tests.faults.model import Question
from tests.live import token

SOCKETS = count(1)
NOTED = ("done", "resumed", "event", "admin_id", "from_id")
"""What of a frame's metadata is noted."""


class Device:
    """One client of a user. ``at`` is the position of the newest stored entry that it was told, ``answers`` and
    ``pieces`` are counts, ``last`` is the newest answer's text."""

    def __init__(self, base: str, user: str, name: str, history: History) -> None:
        self.user = user
        self.name = name
        self.at = self.answers = self.pieces = 0
        self.session = self.last = ""
        self._history = history
        self._base = base

    async def __aenter__(self) -> Self:
        self._http = aiohttp.ClientSession(ws_response_class=self._tapped)
        self.chat = ChatClient(self._base, token=token(self.user), history=True, http=self._http)
        await self.chat.__aenter__()
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(self, *reason: object) -> None:
        self._listening.cancel()
        await asyncio.gather(self._listening, return_exceptions=True)
        await self.chat.__aexit__(None, None, None)
        await self._http.close()

    async def say(self, text: str) -> bool:
        """Whether it was acknowledged, at last."""
        message_id = new_id()
        return await self._call("say", self.chat.say(text, message_id=message_id), message_id, text)

    async def regenerate(self) -> bool:
        return await self._call("regenerate", self.chat.regenerate(), "", "")

    async def stop(self) -> bool:
        return await self._call("stop", self.chat.stop(), "", "")

    async def _call(self, what: str, call: Any, message_id: str, text: str) -> bool:
        self._note(INVOKE, what, id=message_id, text=text)
        try:
            ack = await call
        except Refusal as refusal:
            self._note(FAIL, what, id=message_id, more={"code": str(refusal.code)})
            return False
        except (ChatboxError, asyncio.CancelledError) as error:
            self._note(INFO, what, id=message_id, more={"error": type(error).__name__})
            raise
        self._note(OK, what, id=message_id or ack.message_id, seq=ack.seq)
        return True

    async def _listen(self) -> None:
        try:
            async for event in self.chat.events():
                self._heard(event)
            self._note(INFO, "ended", text="no more events")
        except Exception as error:  # noqa: BLE001 - whatever it is, a client must not end
            self._note(INFO, "ended", text="".join(traceback.format_exception(error)))

    def _heard(self, event: Event) -> None:
        match event:
            case Connected():
                self.session = event.session_id
                self._told(event, more={"resumed": str(event.resumed)})
            case Message(sender="admin"):
                self.at = max(self.at, event.seq)
            case Message():
                self.at = max(self.at, event.seq)
                self._told(event, id=event.message_id, seq=event.seq, text=event.content, more={"sender": event.sender})
            case Answer():
                self.at = max(self.at, event.seq)
                self.answers += 1
                self.last = event.content
                finish = {"finish_reason": event.finish_reason}
                self._told(event, id=event.message_id, seq=event.seq, text=event.content, more=finish)
            case Loading():
                self._told(event, id=event.message_id)
            case Piece():
                self.pieces += 1
                self._told(event, id=event.message_id, text=event.text)
            case Problem():
                self._told(event, id=event.message_id, more={"code": event.code})
            case Reset() | Disconnected():
                self._told(event, text=event.reason)

    def _told(self, event: Event, **fields: Any) -> None:
        self._note(INFO, type(event).__name__.lower(), **fields)

    def _note(self, kind: str, what: str, **fields: Any) -> None:
        self._history.note(kind, what, who=self.name, user=self.user, session=self.session, **fields)

    def _tapped(self, *given: Any, **named: Any) -> Tapped:
        return Tapped(self._history, self.name, *given, **named)


class Tapped(aiohttp.ClientWebSocketResponse):
    """A socket that notes the frames which its reader takes, and its end."""

    def __init__(self, history: History, device: str, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._history = history
        self._name = f"{device} socket {next(SOCKETS)}"
        self._over = False

    async def receive(self, timeout: float | None = None) -> aiohttp.WSMessage:
        message = await super().receive(timeout)
        if message.type is aiohttp.WSMsgType.TEXT:
            self._frame(json.loads(message.data))
        elif not self._over:
            self._over = True
            self._history.info("close", who=self._name, text=str(self.close_code))
        return message

    def _frame(self, frame: dict[str, Any]) -> None:
        metadata = frame.get("metadata", {})
        more = {"type": frame["type"]} | {key: metadata[key] for key in NOTED if key in metadata}
        self._history.info(
            "frame",
            who=self._name,
            session=frame.get("session_id", ""),
            id=frame.get("message_id", ""),
            seq=frame.get("seq"),
            prev=frame.get("prev"),
            more=more,
        )


class Talker:
    """A user with devices at the given addresses; the first one speaks. ``acked`` counts what was acknowledged."""

    def __init__(self, user: str, bases: Sequence[str], history: History) -> None:
        self.user = user
        self.devices = [Device(base, user, f"{user}/{number}", history) for number, base in enumerate(bases)]
        self.acked = 0
        self._numbers = count(1)
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Self:
        for device in self.devices:
            await self._stack.enter_async_context(device)
            await device.chat.ready()
        return self

    async def __aexit__(self, *reason: object) -> None:
        await self._stack.aclose()

    async def ask(self, pieces: int, pause: int = 0) -> Question:
        """Ask for an answer of that shape; returns when the question is acknowledged, or refused."""
        question = Question(f"{self.user} {next(self._numbers)}", pieces, pause)
        self.acked += await self.devices[0].say(str(question))
        return question

    async def burst(self, size: int, pieces: int) -> None:
        """Say several things at once: they have to be stored in this order."""
        await asyncio.gather(*(self.ask(pieces) for _ in range(size)))


async def until(condition: Callable[[], object], patience: float, what: str) -> None:
    """Wait until something holds. Raises ``TimeoutError`` that says what did not come about."""
    try:
        async with asyncio.timeout(patience):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise TimeoutError(f"not within {patience:g} s: {what}") from None


async def complete(talker: Talker) -> bool:
    """Whether the newest entry in the store is an answer, and all of the talker's devices know it."""
    device = talker.devices[0]
    try:
        newest = (await device.chat.api.conversation(device.session)).messages
    except ChatboxError:
        return False
    if not newest:
        return True
    return newest[-1].sender == "ai" and all(device.at == newest[-1].seq for device in talker.devices)


async def note_stored(talker: Talker, base: str, reader: str, history: History) -> None:
    """Write down all that a server has of a user."""
    async with aiohttp.ClientSession() as http:
        api = Api(base, Tokens(token(talker.user)), http)
        async for session in api.all_sessions():
            for message in await api.messages(session.id):
                if message.sender in ("user", "ai") or message.content:
                    history.info(
                        "words" if message.sender == "admin" else "stored",
                        who=reader,
                        user=talker.user,
                        session=session.id,
                        id=message.message_id,
                        seq=message.seq,
                        text=message.content,
                        more={"sender": message.sender, **(message.metadata or {})},
                    )
