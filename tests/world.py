"""The message path without a network: real parts, scripted models, and listeners that check what they get."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from chatbox.allowance import FRAMES, Allowance
from chatbox.backplane.base import Backplane, Pool, Quotas, Window
from chatbox.backplane.memory import MemoryBackplane, MemoryQuotas
from chatbox.chat import Asked, Caller, Chat
from chatbox.commits import Commits
from chatbox.draft import ReplyLimits
from chatbox.errors import StorageBusy
from chatbox.hub import Hub, Position
from chatbox.llm.base import End, Event, Piece, Prompt, Provider, ProviderSettings, Usage
from chatbox.metrics import Metrics
from chatbox.protocol import Model, Regenerate, Say, Stop
from chatbox.reply import ANSWERS, Replies
from chatbox.room import Listener
from chatbox.session import Principal, new_id
from chatbox.sessions import LISTENERS, Sessions
from chatbox.storage.base import Storage
from chatbox.storage.encrypted import EncryptedStorage
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.overview import Overview
from chatbox.storage.records import Records
from chatbox.storage.sqlite import SqliteStorage
from chatbox.takeovers import Takeovers
from chatbox.tasks import Tasks
from tests.storage.values import ring

OPERATIONS = ("create", "get", "find", "append", "read", "keep", "partial", "delete", "usage", "check")

QUICK = ReplyLimits(total=5.0, first_piece=2.0, between_pieces=2.0, back_off=0.001, max_back_off=0.002)
WHOLE = (Piece("Hello "), Piece("there"), Usage(7, 2), End())


def principal(user: str = "ann") -> Principal:
    return Principal(user_id=user, name=user.title(), roles=frozenset(), expires=2e9)


def encrypted(folder: Path) -> Storage:
    return EncryptedStorage(SqliteStorage(folder / "chatbox.db"), ring("new"))


def _through(name: str) -> Any:
    async def method(self: Around, *args: Any, **kwargs: Any) -> Any:
        return await self.around(name, lambda: getattr(self.inner, name)(*args, **kwargs))

    return method


class Around(Storage):
    """A store around another one; ``around`` may wait or fail before or after each call."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner

    async def around(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        return await call()

    create, get, find, append, read, keep, partial, delete, usage, check = map(_through, OPERATIONS)

    @property
    def records(self) -> Records:
        return self.inner.records

    @property
    def overview(self) -> Overview:
        return self.inner.overview


class Yielding(Around):
    """Lets others run before and after each call, as a real store does."""

    async def around(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        await asyncio.sleep(0)
        found = await call()
        await asyncio.sleep(0)
        return found


class Failing(Around):
    """Fails calls while ``down`` names them; ``failures`` counts them, ``calls`` has the names of all."""

    def __init__(self, inner: Storage) -> None:
        super().__init__(inner)
        self.down: set[str] = set()
        self.error: Callable[[], Exception] = lambda: StorageBusy("told to be busy")
        self.failures = 0
        self.calls: list[str] = []

    async def around(self, name: str, call: Callable[[], Awaitable[Any]]) -> Any:
        self.calls.append(name)
        if name in self.down:
            self.failures += 1
            raise self.error()
        return await call()


class Scripted(Provider):
    """Answers with the next of ``scripts``, the last one again and again. A script's items are events, seconds to wait,
    an ``asyncio.Event`` to wait for, or an error to raise."""

    def __init__(self, *scripts: Any, name: str = "scripted") -> None:
        super().__init__(ProviderSettings(id=name, name=name.title(), type="scripted"))
        self.scripts = list(scripts) or [WHOLE]
        self.prompts: list[Prompt] = []
        self.open = 0

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        script = self.scripts[min(len(self.prompts), len(self.scripts) - 1)]
        self.prompts.append(prompt)
        self.open += 1
        try:
            for item in script:
                match item:
                    case Exception():
                        raise item
                    case asyncio.Event():
                        await item.wait()
                    case float():
                        await asyncio.sleep(item)
                    case _:
                        yield item
        finally:
            self.open -= 1

    @property
    def asked(self) -> list[str]:
        """The last turn of each prompt."""
        return [prompt.turns[-1].content for prompt in self.prompts]


class Ear(Listener):
    """A socket that hears everything and believes nothing: each position has to follow on the one before."""

    def __init__(self) -> None:
        self.id = new_id()
        self.client = ""
        self.joined = 0
        self.session_id = ""
        self.position = 0
        self.sending: set[str] = set()
        self.frames: list[dict[str, Any]] = []
        self.closed: int | None = None
        self.copy = Copy()
        self._news = asyncio.Event()

    def send(self, frame: str, piece: object = None) -> None:
        if self.closed is None:
            parsed = json.loads(frame)
            self.frames.append(parsed)
            self.copy.take(parsed)
            self._news.set()

    def close(self, code: int, reason: str) -> None:
        self.closed = code
        self._news.set()

    async def until(self, true: Callable[[], object], patience: float = 10.0) -> None:
        async with asyncio.timeout(patience):
            while not true():
                self._news.clear()
                await self._news.wait()

    async def hear(self, kind: str, count: int = 1) -> dict[str, Any]:
        """The ``count``-th frame of a kind, waited for."""
        await self.until(lambda: len(self.of(kind)) >= count)
        return self.of(kind)[count - 1]

    async def done(self, count: int = 1) -> dict[str, Any]:
        """The ``count``-th end of an answer."""
        await self.until(lambda: len(self.ends) >= count)
        return self.ends[count - 1]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [frame for frame in self.frames if frame["type"] == kind]

    @property
    def ends(self) -> list[dict[str, Any]]:
        return [f for f in self.of("ai_response") if f["metadata"]["done"] == "true"]


class Copy:
    """A client's copy of a conversation, by the wire contract alone. ``broken`` says what a frame did against it."""

    def __init__(self) -> None:
        self.position = 0
        self.epoch = ""
        self.texts: dict[str, str] = {}
        self.order: list[str] = []
        self.ended: dict[str, str] = {}
        self.loading: list[str] = []
        self.sent: dict[str, str] = {}
        self.broken: list[str] = []

    def take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "connection_status":
            self.position, self.epoch = frame["seq"], frame["epoch"]
            return
        seq = frame.get("seq")
        if seq is not None:
            if seq <= self.position and frame["type"] == "ack":
                return
            if frame.get("prev", seq - 1) != self.position or seq <= self.position:
                self.broken.append(f"{frame} after {self.position}")
            self.position = seq
        getattr(self, f"_{frame['type']}", lambda _: None)(frame)

    def load(self, page: Any) -> None:
        """Begin with stored messages."""
        for entry in page.entries:
            if entry.kind in ("user_message", "ai_response"):
                self._put(entry.message_id, entry.content)
        self.position, self.epoch = page.seq, page.session.epoch

    @property
    def conversation(self) -> list[tuple[str, str]]:
        return [(message_id, self.texts[message_id]) for message_id in self.order]

    def _put(self, message_id: str, text: str) -> None:
        if message_id not in self.texts:
            self.order.append(message_id)
        self.texts[message_id] = text

    def _ack(self, frame: dict[str, Any]) -> None:
        if frame["message_id"] in self.sent:
            self._put(frame["message_id"], self.sent.pop(frame["message_id"]))

    def _user_message(self, frame: dict[str, Any]) -> None:
        if frame["message_id"] in self.texts:
            self.broken.append(f"{frame['message_id']} came twice")
        self._put(frame["message_id"], frame["content"])

    def _loading(self, frame: dict[str, Any]) -> None:
        self.loading.append(frame["message_id"])

    def _ai_response(self, frame: dict[str, Any]) -> None:
        message_id, metadata = frame["message_id"], frame["metadata"]
        if message_id in self.ended:
            self.broken.append(f"a frame of {message_id} after its end")
        so_far = self.texts.get(message_id, "") if metadata.get("streaming") else ""
        if not (so_far + frame["content"]).startswith(self.texts.get(message_id, "")):
            self.broken.append(f"{message_id} was shown as {self.texts[message_id]!r}, and is {frame['content']!r}")
        self.order = [other for other in self.order if other != message_id]
        self.order.append(message_id)
        self.texts[message_id] = so_far + frame["content"]
        if metadata["done"] == "true":
            self.ended[message_id] = metadata["finish_reason"]


class World:
    """A Chatbox without its edges."""

    def __init__(
        self,
        storage: Storage,
        *providers: Provider,
        limits: ReplyLimits = QUICK,
        rate: int = 1000,
        answers: int = 3,
        tokens: int = 0,
        reconnect_timeout: float = 900.0,
        backplane: Backplane | None = None,
        quotas: Quotas | None = None,
        hub: type[Hub] = Hub,
        replies: type[Replies] = Replies,
        chat: type[Chat] = Chat,
        sessions: type[Sessions] = Sessions,
        commits: type[Commits] = Commits,
    ) -> None:
        self.storage = storage
        self.metrics = Metrics()
        self.tasks = Tasks()
        self.backplane = backplane or MemoryBackplane()
        pools = {LISTENERS: Pool(linger=reconnect_timeout), ANSWERS: Pool()}
        self.quotas = quotas or MemoryQuotas({FRAMES: Window(rate, 60.0)}, pools)
        offered = {provider.settings.id: provider for provider in providers or (Scripted(),)}
        self.hub = hub(storage, self.backplane, self.tasks)
        self.replies = replies(
            storage, self.backplane, self.quotas, self.hub, offered, limits, self.metrics, self.tasks
        )
        self.sessions = sessions(
            storage,
            self.backplane,
            self.quotas,
            self.hub,
            self.replies,
            self.metrics,
            reconnect_timeout=reconnect_timeout,
        )
        self.allowance = Allowance(storage, self.quotas, self.metrics, answers=answers, tokens=tokens)
        committing = commits(storage, self.backplane, self.hub)
        self.takeovers = Takeovers(storage, committing, self.replies, self.metrics)
        self.chat = chat(
            storage,
            self.backplane,
            self.quotas,
            self.hub,
            self.replies,
            self.sessions,
            self.allowance,
            committing,
            self.tasks,
            models=tuple(Model(name, name.title()) for name in offered),
        )

    async def enter(self, user: str = "ann", session_id: str = "", at: Position | None = None, client: str = "") -> Ear:
        """A socket that has attached."""
        ear = Ear()
        ear.client = client
        await self.chat.attach(principal(user), ear, Asked(session_id, at))
        return ear

    async def do(self, ear: Ear, command: Any, user: str = "ann") -> None:
        await self.chat.handle(Caller(principal(user), ear.session_id, ear), command)

    async def say(self, ear: Ear, content: str, message_id: str = "", user: str = "ann") -> str:
        message_id = message_id or new_id()
        ear.copy.sent[message_id] = content
        await self.do(ear, Say(message_id=message_id, content=content), user)
        return message_id

    async def stop(self, ear: Ear, target: str | None = None) -> str:
        message_id = new_id()
        await self.do(ear, Stop(message_id=message_id, target=target))
        return message_id

    async def again(self, ear: Ear, message_id: str = "") -> str:
        message_id = message_id or new_id()
        await self.do(ear, Regenerate(message_id=message_id))
        return message_id

    async def leave(self, ear: Ear) -> None:
        await self.chat.leave(ear)

    async def quiet(self) -> None:
        """Wait until nothing is being answered and no task is left."""
        async with asyncio.timeout(10):
            while len(self.replies) or len(self.tasks):
                await asyncio.sleep(0.001)

    async def log(self, session_id: str) -> list[Any]:
        return await self.storage.read(session_id, limit=10_000)


@asynccontextmanager
async def world(storage: Storage | None = None, *providers: Provider, **options: Any) -> AsyncGenerator[World, None]:
    """An open one; ``storage`` None keeps everything in memory."""
    async with storage or MemoryStorage() as opened:
        made = World(opened, *providers, **options)
        async with made.tasks:
            yield made
