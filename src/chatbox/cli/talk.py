"""One talk in the terminal: events become lines on a screen, what is typed becomes messages and commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import assert_never

from chatbox.cli.screen import Screen
from chatbox.client import (
    Answer,
    ChatClient,
    Connected,
    Disconnected,
    Event,
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
from chatbox.errors import ChatboxError, ConnectionLost, Refusal, Unavailable

RECENT = 6
LISTED = 20
SOON = 2.0
"""Seconds in which an answer begins, if one comes at all."""

REMARKS = {
    "length": "cut off: too long",
    "stopped": "stopped",
    "timeout": "the model took too long",
    "interrupted": "interrupted; /regenerate has it answered again",
    "error": "the model failed",
}
SPEAKERS = {"user": "you, elsewhere", "admin": "support", "system": "system"}
NOTICES = {
    "session_renamed": "this conversation is now called {name}",
    "model_changed": "answers come from {model_id} now",
    "session_ended": "this conversation was ended; writing opens it again",
    "session_deleted": "this conversation was deleted",
}
LEFT = {
    "released": "{name} is no longer in charge of this conversation; the AI answers again",
    "away": "{name} has been away for too long; the AI answers again",
    "ended": "{name} has left with the end of this conversation",
}


class Talk:
    """Talks in one session after another. ``open`` makes a client for a session id; "" is the active one."""

    def __init__(self, open_client: Callable[[str], ChatClient], screen: Screen) -> None:
        self._open = open_client
        self._screen = screen
        self._chat: ChatClient
        self._reader: asyncio.Task[None] | None = None
        self._began = asyncio.Event()
        self._idle = asyncio.Event()
        self._lost = False
        self._staff = self._help = ""
        self._listed: list[str] = []

    # -- sessions ------------------------------------------------------------------------------------------------------

    async def enter(self, session_id: str = "") -> None:
        """Leave the session and go to another one, as soon as there is a connection. Raises what keeps the client from
        ever connecting."""
        await self.leave()
        self._chat = await self._open(session_id).__aenter__()
        events = self._chat.events()
        try:
            await self._arrive(events)
        except BaseException:
            await self._chat.__aexit__(None, None, None)
            raise
        self._reader = asyncio.create_task(self._read(events), name="terminal chat")

    async def _arrive(self, events: AsyncIterator[Event]) -> None:
        """Wait for the first connection, and show how the conversation went so far."""
        async for event in events:
            self._show(event)
            if isinstance(event, Connected):
                await self._recall(event.session_id)
                return

    async def leave(self) -> None:
        """Disconnect."""
        if self._reader:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)
            await self._chat.__aexit__(None, None, None)
            self._reader = None

    async def _recall(self, session_id: str) -> None:
        try:
            page = await self._chat.api.conversation(session_id)
        except (ConnectionLost, Unavailable) as error:
            self._screen.note(f"what was said before can't be shown now: {error}")
            return
        if page.messages:
            self._screen.note(page.name or "conversation")
        for message in [m for m in page.messages if m.sender != "system" and m.content][-RECENT:]:
            speaker = {"ai": "assistant", "user": "you"}.get(message.sender)
            staff = (message.metadata or {}).get("admin_name") or "support"
            self._screen.message(speaker or staff, message.content)
        if self._staff:
            self._screen.note(f"{self._staff} from support has this conversation; the AI is silent")

    # -- events --------------------------------------------------------------------------------------------------------

    async def _read(self, events: AsyncIterator[Event]) -> None:
        try:
            async for event in events:
                self._show(event)
        except ChatboxError as error:
            self._screen.note(f"disconnected for good: {error}")
        finally:
            self._began.set()
            self._idle.set()

    def _show(self, event: Event) -> None:
        match event:
            case Connected():
                self._connected(event)
            case Disconnected(reason, _):
                if not self._lost:
                    self._screen.note(f"offline: {reason}. Connecting again; nothing is lost.")
                self._lost = True
            case Reset():
                self._screen.note("the server lost a part of this conversation; this is what it has")
            case Message():
                self._said(event)
            case Typing(sender, name):
                if sender == "admin":
                    self._screen.typing(name or "support")
            case Loading():
                self._began.set()
                self._screen.waiting()
            case Piece(_, text):
                self._screen.piece(text)
            case Answer():
                self._screen.answered(REMARKS.get(event.finish_reason, ""), event.content)
                self._idle.set()
            case StaffJoined():
                self._joined(event)
            case StaffLeft():
                self._left(event)
            case HelpNews():
                self._helped(event)
            case Notice():
                self._notice(event)
            case Problem():
                self._screen.note(event.message)
            case _:
                assert_never(event)

    def _connected(self, event: Connected) -> None:
        if self._lost:
            self._screen.note("connected again" if self._reader else "connected")
        self._lost = False
        self._staff = "" if event.staff_name is None else event.staff_name or "support"
        self._help = event.help_state

    def _said(self, message: Message) -> None:
        if not message.own:
            named = message.metadata.get("admin_name") if message.sender == "admin" else None
            speaker = named or SPEAKERS.get(message.sender, message.sender)
            self._screen.message(speaker, message.content or message.file_url or "a file")

    def _left(self, event: StaffLeft) -> None:
        self._staff = self._help = ""
        text = LEFT.get(event.reason, "{name} has left; the AI answers again")
        self._screen.note(text.format(name=event.name or "support"))

    def _joined(self, event: StaffJoined) -> None:
        self._staff = event.name or "support"
        if event.from_name is None:
            self._screen.note(f"{self._staff} has joined; the AI is silent")
        else:
            self._screen.note(f"{event.from_name or 'support'} has handed this conversation on to {self._staff}")
        self._began.set()
        self._idle.set()

    def _helped(self, news: HelpNews) -> None:
        """Say how a call for help stands, as far as anybody knows."""
        self._help = news.state
        text = {
            "asked": "help was asked for; nobody has been told yet",
            "told": f"support was told{_at(news.at)}" if news.at else "",
            "none": "nobody is asked for help any more",
        }.get(news.state, "")
        if not news.open:
            text = f"support is closed now{_at(news.opens_at, ' and opens')}; leave an address: /email ADDRESS"
        if news.email:
            text = f"an answer can be sent to {news.email}"
        if text:
            self._screen.note(text)

    def _notice(self, notice: Notice) -> None:
        if text := NOTICES.get(notice.event):
            self._screen.note(text.format_map({"name": "?", "model_id": "?", "state": "?", **notice.metadata}))

    # -- what is typed -------------------------------------------------------------------------------------------------

    async def take(self, line: str) -> bool:
        """Do what was typed; false when that was to leave. Returns when the answer is complete or none comes soon."""
        word, _, rest = line.strip().partition(" ")
        if not word:
            return True
        if word in ("/quit", "/exit"):
            return False
        command = self.commands.get(word)
        try:
            if command:
                await command(rest.strip())
            else:
                await self.say(line)
        except Refusal as refusal:
            self._screen.note(refusal.message)
        except ChatboxError as error:
            self._screen.note(str(error))
        return True

    @property
    def commands(self) -> dict[str, Callable[[str], Awaitable[None]]]:
        """What begins with a slash; anything else is said. The first line of each docstring is its help."""
        return {
            "/regenerate": self.regenerate,
            "/stop": self.stop,
            "/model": self.model,
            "/sessions": self.sessions,
            "/open": self.open,
            "/new": self.new,
            "/rename": self.rename,
            "/end": self.end,
            "/human": self.human,
            "/email": self.email,
            "/cancel": self.cancel,
            "/help": self.help,
        }

    async def say(self, text: str) -> None:
        await self._answered(self._chat.say(text))

    async def regenerate(self, _rest: str) -> None:
        """have the last message answered again"""
        await self._answered(self._chat.regenerate())

    async def stop(self, _rest: str) -> None:
        """stop the answer that is running (Ctrl-C does the same)"""
        await self._chat.stop()

    async def model(self, rest: str) -> None:
        """show the models, or choose one: /model ID"""
        if rest:
            await self._chat.select_model(rest)
            return
        models = (await self._chat.ready()).models
        self._screen.note("models: " + ", ".join(model.id for model in models))

    async def sessions(self, rest: str) -> None:
        """list your conversations; words after it are looked for in their names"""
        found = (await self._chat.api.sessions(q=rest, limit=LISTED)).sessions
        self._listed = [session.id for session in found]
        for number, session in enumerate(found, start=1):
            when = session.last_activity[:16].replace("T", " ")
            self._screen.note(f"{number:2}  {session.name or 'unnamed'}  ({session.message_count} messages, {when})")
        self._screen.note("open one: /open NUMBER" if found else "none")

    async def open(self, rest: str) -> None:
        """go on with a conversation of the last list: /open NUMBER"""
        if not rest.isdecimal() or not 1 <= int(rest) <= len(self._listed):
            self._screen.note("give a number of the list that /sessions shows")
            return
        await self.enter(self._listed[int(rest) - 1])

    async def new(self, _rest: str) -> None:
        """begin a new conversation"""
        await self.enter("new")
        self._screen.note("a new conversation")

    async def rename(self, rest: str) -> None:
        """give this conversation a name: /rename NAME"""
        await self._chat.api.rename(self._session_id, rest)

    async def end(self, _rest: str) -> None:
        """end this conversation"""
        await self._chat.api.end(self._session_id)

    async def human(self, rest: str) -> None:
        """ask for a person; words after it say why"""
        waiting = self._help in ("asked", "told")
        await self._chat.help(rest)
        if waiting:
            self._screen.note("a person was asked for already; what you write meanwhile is there for them to read")

    async def email(self, rest: str) -> None:
        """ask for a person, to be answered by e-mail when nobody is there: /email ADDRESS"""
        if rest:
            await self._chat.help(email=rest)
        else:
            self._screen.note("give an address: /email ADDRESS")

    async def cancel(self, _rest: str) -> None:
        """take back that a person was asked for"""
        await self._chat.cancel_help()

    async def help(self, _rest: str) -> None:
        """show this"""
        for name, command in self.commands.items():
            self._screen.note(f"{name:12} {command.__doc__}")
        self._screen.note("/quit        leave (Ctrl-D does the same)")
        self._screen.note("A line that ends with \\ goes on in the next one.")

    @property
    def _session_id(self) -> str:
        position = self._chat.position
        return position.session_id if position else ""

    async def _answered(self, asking: Awaitable[object]) -> None:
        """Wait for the ack, and for the answer if one begins soon."""
        if self._lost:
            self._screen.note("This is sent as soon as the connection is back.")
        self._began.clear()
        self._idle.clear()
        await asking
        if self._staff:
            return
        try:
            async with asyncio.timeout(SOON):
                await self._began.wait()
        except TimeoutError:
            return
        await self._idle.wait()


def _at(time: str | None, before: str = "") -> str:
    """When something was or will be, by this machine's clock."""
    if time is None:
        return ""
    return f"{before} at {datetime.fromisoformat(time).astimezone():%Y-%m-%d %H:%M}"
