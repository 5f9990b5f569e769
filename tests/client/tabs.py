"""Clients of an in-process Chatbox: a mirror each, what an application keeps of its events, and a line that may be
slow, cut and taken up again."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from chatbox import protocol, transcript
from chatbox.chat import Asked, Caller
from chatbox.client.api import Api
from chatbox.client.events import (
    Answer,
    Connected,
    HelpNews,
    Loading,
    Message,
    Notice,
    Piece,
    Problem,
    Reset,
    StaffJoined,
    StaffLeft,
    Typing,
)
from chatbox.client.frames import decode
from chatbox.client.mirror import Gap, Mirror
from chatbox.client.tokens import Tokens
from chatbox.conversations import Conversations
from chatbox.errors import NotFound, Refusal
from chatbox.fields import BadFrame
from chatbox.hub import Position
from chatbox.outbox import Line, Outbox
from chatbox.room import Listener
from chatbox.session import name_from, new_id
from tests.world import principal

FRAMING = {"streaming", "done", "superseded"}
"""Metadata that says how an answer came, not what it is."""


class State:
    """All that a page shows of a conversation after a position, kept up to date by events alone."""

    def __init__(self):
        self.start_over()
        self.model, self.help, self.staff, self.email, self.others_type = None, "none", None, None, 0

    def start_over(self):
        self.start = 0
        self.lines, self.replaced = [], set()
        self.running, self.replaces, self.text = None, None, ""
        self.name = ""

    def take(self, event):
        match event:
            case Reset():
                self.start_over()
            case Connected():
                self.model, self.help = event.model_id, event.help_state
                self.staff, self.email = event.staff_name, event.help_email
            case Message():
                self.said(event)
            case Loading(message_id, replaces):
                self.running, self.replaces, self.text = message_id, replaces, ""
            case Piece(message_id, text):
                if self.running != message_id:
                    self.running, self.replaces, self.text = message_id, None, ""
                self.text += text
            case Answer():
                self.answered(event)
            case StaffJoined(name, seq, from_name):
                self.staff, self.help = name, "none" if self.help == "none" else "joined"
                self.lines.append((seq, "joined", name, from_name))
            case StaffLeft(name, seq, reason):
                self.staff, self.help = None, "none"
                self.lines.append((seq, "left", name, reason))
            case HelpNews():
                self.helped(event)
            case Notice():
                self.noticed(event)
            case Typing() | Problem():
                self.others_type += 1

    def said(self, message):
        who = (message.message_id, message.sender, message.content, message.file_id, message.file_url)
        self.lines.append((message.seq, *who, message.model_id, metadata(message)))
        self.model = message.model_id or self.model
        if message.sender == "user" and not message.file_id:
            self.name = self.name or name_from(message.content)

    def answered(self, answer):
        if self.running == answer.message_id:
            self.running, self.replaces, self.text = None, None, ""
        if answer.superseded:
            self.replaced.add(answer.message_id)
        self.replaced.add(answer.replaces)
        ending = (answer.content, answer.finish_reason, answer.tokens, answer.replaces, answer.model_id)
        self.lines.append((answer.seq, answer.message_id, "ai", *ending, metadata(answer)))

    def noticed(self, notice):
        match notice.event:
            case "session_renamed":
                self.name = notice.metadata["name"]
            case "model_changed":
                self.model = notice.metadata["model_id"]
        if notice.seq is not None:
            self.lines.append((notice.seq, notice.event, notice.content, metadata(notice)))

    def helped(self, news):
        self.help, self.email = news.state, news.email or self.email
        if news.seq is not None:
            self.lines.append((news.seq, "help", news.at, news.open, news.opens_at, news.email, news.content))

    @property
    def superseded(self):
        return self.replaced & {line[1] for line in self.lines}

    def since(self, start):
        """What it would show of what came after a position."""
        running = (self.running, self.replaces, self.text) if self.running else None
        lines = [line for line in self.lines if line[0] > start]
        whole = (self.superseded, self.name) if not start else None
        return lines, running, self.model, self.help, self.staff, self.email, whole


def metadata(event):
    return {key: value for key, value in event.metadata.items() if key not in FRAMING}


class Wire(Listener, Line):
    """A socket as the server has it. While it does not flow, frames wait in its outbox."""

    def __init__(self, client, tasks):
        self.id, self.client = new_id(), client
        self.session_id, self.position, self.sending = "", 0, set()
        self.frames, self.closed = deque(), None
        self.flows = asyncio.Event()
        self.flows.set()
        self.turn = asyncio.Lock()
        self.outbox = Outbox(self, self.write, tasks)

    def send(self, frame, piece=None):
        if piece is None:
            self.outbox.put(frame)
        else:
            self.outbox.put_piece(frame, self.session_id, self.position, piece)

    def close(self, code, reason):
        self.outbox.close(code, reason)

    def offer(self, frame):
        if self.flows.is_set():
            self.frames.append(frame[{126: 4, 127: 10}.get(frame[1], 2) :].decode())
        return self.flows.is_set()

    async def write(self, message):
        await self.flows.wait()
        if message["type"] == "websocket.send":
            self.frames.append(message["text"])
        else:
            self.closed = message["code"]


class Pages(Api):
    """The HTTP routes of a world, without HTTP."""

    def __init__(self, here, user):
        super().__init__("", Tokens("any"), None)
        self.here, self.user = here, user

    async def _call(self, method, path, **options):
        session = await self.here.sessions.own(principal(self.user), path.removeprefix("/sessions/"))
        before = options["params"].get("before")
        page = await Conversations(self.here.storage).page(session, int(before) if before else None)
        view = {"session_id": session.id, "name": session.name, "seq": page.seq, "before": page.before}
        return msgspec.json.encode(view | {"messages": [transcript.message(entry) for entry in page.entries]})


class Tab:
    """A client. ``mirror`` makes its mirror."""

    def __init__(self, here, mirror=Mirror, wanted="", *, history=True, user="ann"):
        self.here, self.wanted, self.user = here, wanted, user
        self.client = new_id()
        self.make = lambda: mirror(self.outgoing.get, history=history)
        self.outgoing, self.moving = {}, asyncio.Lock()
        self.mirror, self.state, self.wire = self.make(), State(), None

    @property
    def session_id(self):
        return self.mirror.position.session_id if self.mirror.position else self.wanted

    async def connect(self):
        """Come (back), if there is no line, and send again what was not acknowledged."""
        async with self.moving:
            if self.wire is None:
                await self.attach()

    async def attach(self):
        wire, at = Wire(self.client, self.here.tasks), self.mirror.position
        asked = Asked(at.session_id, Position(at.epoch, at.seq)) if at else Asked(self.wanted)
        await self.here.chat.attach(principal(self.user), wire, asked)
        greeting = decode(wire.frames.popleft())
        missing = self.mirror.missing(greeting)
        try:
            missed = await self.missed(greeting.session_id, missing) if missing else []
        except NotFound:  # deleted meanwhile
            await self.here.chat.leave(wire)
            return
        if missing is None and at is None:
            self.state.start = greeting.seq
        self.take(self.mirror.greet(greeting, missed))
        self.wire = wire
        for command in list(self.outgoing.values()):
            await self.send(wire, command)

    async def missed(self, session_id, missing):
        found = await Pages(self.here, self.user).messages(session_id, after=missing.after, until=missing.until)
        return [message.frame for message in found]

    async def reload(self):
        """Forget everything but the session, and come again."""
        async with self.moving:
            self.wanted = self.session_id
            await self.lose_line()
            self.outgoing.clear()
            self.mirror, self.state = self.make(), State()
            await self.attach()

    async def cut(self, read):
        """Lose the line after so many more frames have come through."""
        async with self.moving:
            self.read(read)
            await self.lose_line()

    async def lose_line(self):
        if wire := self.wire:
            self.wire = None
            wire.flows.set()
            await self.here.chat.leave(wire)

    def read(self, count=1 << 30):
        """Take frames in, as many as are there."""
        while self.wire and self.wire.frames and count:
            frame = decode(self.wire.frames.popleft())
            try:
                self.take(self.mirror.receive(frame))
            except Gap as gap:
                raise AssertionError(f"{frame} follows on a gap") from gap
            if frame.seq is not None or frame.type == "error":
                self.outgoing.pop(frame.message_id, None)
            count -= 1
        if self.wire and self.wire.closed:
            self.wire = None

    def take(self, events):
        for event in events:
            self.state.take(event)

    async def do(self, command):
        """Ask for something; it is sent again until it is answered."""
        self.outgoing[command.message_id] = command
        if self.wire:
            await self.send(self.wire, command)

    async def send(self, wire, command):
        async with wire.turn:
            try:
                caller = Caller(principal(self.user), wire.session_id, wire)
                await self.here.chat.handle(caller, protocol.decode(command.text))
            except (Refusal, BadFrame) as error:
                refusal = error.refusal if isinstance(error, BadFrame) else error
                wire.send(protocol.error(refusal, session_id=wire.session_id, message_id=command.message_id))

    async def arrived(self):
        """Take in all that was sent to this tab; false when it has no line any more."""
        if self.wire:
            self.wire.flows.set()
            while self.wire.outbox.blocked:
                await asyncio.sleep(0)
            self.read()
        return self.wire is not None
