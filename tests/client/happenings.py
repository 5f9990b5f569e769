"""A user with several tabs on two replicas, and all that can happen to them, as operations that a test may choose from.

The parts are the product's own: chat, hub, replies, sessions, outboxes and mirrors. The models speak when told to, and
the clock goes forward when all wait for it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import ExitStack, asynccontextmanager, suppress
from unittest.mock import patch

from msgspec.structs import replace

from chatbox.allowance import FRAMES
from chatbox.backplane.base import Pool, Stored, Window
from chatbox.backplane.memory import MemoryBackplane, MemoryBus, MemoryQuotas
from chatbox.chat import EMAIL
from chatbox.client.frames import command
from chatbox.client.mirror import Mirror
from chatbox.draft import ReplyLimits
from chatbox.errors import NotFound, ProviderRefused, Refusal
from chatbox.llm.base import End, File, Piece, Provider, ProviderSettings, Usage
from chatbox.protocol import notice
from chatbox.reply import ANSWERS
from chatbox.session import VISIBLE, Change, Entry, Help, Kind, Principal, Sender, new_id, now_ms
from chatbox.sessions import LISTENERS
from chatbox.storage.memory import MemoryStorage
from tests.client.tabs import Tab
from tests.world import World, Yielding, principal

TABS = 3
NEAR = 6
"""Entries that a client may be behind."""
LONG = 200
"""Turns of the loop in which replicas tell each other everything."""
PATIENT = ReplyLimits(total=1e6, first_piece=1e6, between_pieces=1e6)


class Impatient(asyncio.SelectorEventLoop):
    """When all wait for the clock, it is put forward."""

    ahead, clock = 0.0, staticmethod(time.monotonic)

    def time(self):
        return self.clock() + self.ahead

    def _run_once(self):
        if self._scheduled and not self._ready:
            self.ahead += max(0.0, self._scheduled[0]._when - self.time())
        super()._run_once()


class Far(MemoryQuotas):
    """Counts that are kept elsewhere: asking takes time."""

    async def enter(self, pool, key, member):
        await asyncio.sleep(0)
        entered = await super().enter(pool, key, member)
        await asyncio.sleep(0)
        return entered

    async def members(self, pool, key):
        await asyncio.sleep(0)
        return await super().members(pool, key)


class Dictated(Provider):
    """A model that says what it is told to, when it is told to."""

    def __init__(self, name):
        super().__init__(ProviderSettings(id=name, name=name, type="dictated"))
        self.words = asyncio.Queue()

    async def stream(self, prompt):
        while True:
            word = await self.words.get()
            if isinstance(word, Exception):
                raise word
            yield word
            if isinstance(word, End):
                return


def eve(choice):
    """One of two members of staff."""
    return Principal(f"eve-{choice % 2}", f"Eve {choice % 2}", frozenset({"admin"}), 2e9)


class Happenings:
    """A user with several tabs, on two replicas, and all that can happen to them."""

    def __init__(self, storage, here, there, models, mirror):
        self.storage, self.here, self.there, self.models = storage, here, there, models
        self.tabs = [Tab(here, mirror), Tab(there, mirror), Tab(here, mirror, history=False)]
        self.doing = []

    async def happen(self, steps):
        for tab in self.tabs:
            await tab.connect()
        for what, who, choice, yields in steps:
            if what == "look":
                await self.look(choice)
            else:
                self.doing.append(asyncio.ensure_future(getattr(self, what)(self.tabs[who], choice)))
            for _ in range(yields):
                await asyncio.sleep(0)
        await self.look(0)

    async def end(self):
        """Let everyone go and the models finish."""
        await asyncio.gather(*self.doing, return_exceptions=True)
        for tab in self.tabs:
            await tab.cut(0)
        async with asyncio.timeout(20):
            while any(map(len, (self.here.replies, self.there.replies, self.here.tasks, self.there.tasks))):
                for model in self.models:
                    if model.words.empty():
                        model.words.put_nowait(End())
                await asyncio.sleep(0.01)

    # -- what is compared ----------------------------------------------------------------------------------------------

    async def look(self, choice):
        """Everyone shows what a tab shows that has just come."""
        while self.doing:
            await self.doing.pop()
        for tab in self.tabs:
            while not await tab.arrived():
                await tab.connect()
        for session_id in {tab.session_id for tab in self.tabs}:
            fresh = Tab((self.here, self.there)[choice % 2], wanted=session_id)
            await fresh.connect()
            await self.agree(fresh, [tab for tab in self.tabs if tab.session_id == session_id])
            await fresh.cut(0)

    async def agree(self, fresh, tabs):
        for _ in range(LONG):
            with suppress(AssertionError):
                await self.compare(fresh, tabs)
                return
            await asyncio.sleep(0)
        await self.compare(fresh, tabs)

    async def compare(self, fresh, tabs):
        """At this very moment, all tabs show the same, and that is what the store has."""
        for tab in (fresh, *tabs):
            tab.read()
        state = fresh.state
        for tab in tabs:
            start = tab.state.start
            assert tab.state.since(start) == state.since(start)
        session = await self.storage.get(fresh.session_id)
        log = await self.storage.read(session.id, limit=10_000)
        assert (state.name, state.model, state.help) == (session.name, session.model_id, session.help_state)
        assert (state.staff, state.email) == (session.assisting_admin_name, session.context.get(EMAIL))
        assert [line[0] for line in state.lines] == [entry.seq for entry in log if entry.kind in VISIBLE]
        assert state.superseded == {entry.message_id for entry in log if entry.superseded}

    # -- what a tab does -----------------------------------------------------------------------------------------------

    async def say(self, tab, choice):
        await tab.do(command("user_message", content=TEXTS[choice % len(TEXTS)]))

    async def say_to_another_model(self, tab, choice):
        model = self.models[choice % len(self.models)].settings.id
        await tab.do(command("user_message", content="hello", model_id=model, metadata={" page ": " /cart\0 "}))

    async def stop(self, tab, _):
        await tab.do(command("stop"))

    async def regenerate(self, tab, _):
        await tab.do(command("regenerate"))

    async def select_model(self, tab, choice):
        await tab.do(command("model_select", model_id=self.models[choice % len(self.models)].settings.id))

    async def ask_for_help(self, tab, choice):
        await tab.do(command("help_request", content=TEXTS[choice % len(TEXTS)]))

    async def leave_an_address(self, tab, choice):
        email = f"ann{choice % 3}@example.com"
        await tab.do(command("help_request", metadata={"email": email}))

    async def need_no_help(self, tab, _):
        await tab.do(command("help_cancel"))

    async def type(self, tab, _):
        await tab.do(command("typing_indicator", message_id="typing"))
        tab.outgoing.pop("typing", None)

    async def ping(self, tab, _):
        await tab.do(command("ping", message_id="ping"))
        tab.outgoing.pop("ping", None)

    async def cut(self, tab, choice):
        await tab.cut(choice)

    async def come_back(self, tab, _):
        await tab.connect()

    async def reload(self, tab, _):
        await tab.reload()

    async def read(self, tab, choice):
        tab.read(choice)

    async def slow_down(self, tab, _):
        if tab.wire:
            tab.wire.flows.clear()

    async def speed_up(self, tab, _):
        if tab.wire:
            tab.wire.flows.set()

    async def be_hinted(self, tab, choice):
        if tab.wire:
            tab.wire.send(notice(tab.session_id, ("drain", "token_expiring", "auth_ok")[choice % 3], retry_after="5"))

    # -- what happens to the session -----------------------------------------------------------------------------------

    async def rename(self, tab, choice):
        with suppress(NotFound):
            await tab.here.sessions.rename(await self.session(tab), f"Name {choice}")

    async def share(self, tab, choice):
        with suppress(NotFound):
            change = tab.here.sessions.unshare if choice % 2 else tab.here.sessions.share
            await change(await self.session(tab))

    async def end_it(self, tab, _):
        with suppress(NotFound):
            await tab.here.sessions.close(await self.session(tab))

    async def delete(self, tab, _):
        with suppress(NotFound):
            await tab.here.sessions.delete(await self.session(tab))

    async def restore(self, tab, _):
        """As if it came from a backup: positions of before mean nothing any more."""
        if log := self.storage._logs.get(tab.session_id):
            log.session = replace(log.session, epoch=new_id())

    async def session(self, tab):
        return await tab.here.sessions.own(principal(), tab.session_id)

    # -- what the model does -------------------------------------------------------------------------------------------

    async def speak(self, _tab, choice):
        for model in self.models:
            model.words.put_nowait(Piece(PIECES[choice % len(PIECES)]))

    async def show_a_file(self, _tab, choice):
        for model in self.models:
            model.words.put_nowait(File(f"https://example.com/{choice}.png", "a picture", "image/png"))

    async def finish(self, _tab, _):
        for model in self.models:
            model.words.put_nowait(Usage(3, 4))
            model.words.put_nowait(End())

    async def fail(self, _tab, _):
        for model in self.models:
            model.words.put_nowait(ProviderRefused("no"))

    # -- what others do, by entries of the log -------------------------------------------------------------------------

    async def join_as_staff(self, tab, choice):
        with suppress(Refusal):
            await tab.here.takeovers.join(eve(choice), tab.session_id, new_id())

    async def hand_on_as_staff(self, tab, choice):
        with suppress(Refusal):
            await tab.here.takeovers.transfer(eve(choice), eve(choice + 1).staff, tab.session_id, new_id())

    async def leave_as_staff(self, tab, choice):
        with suppress(Refusal):
            await tab.here.takeovers.leave(eve(choice), tab.session_id, new_id())

    async def be_away_as_staff(self, tab, _):
        with suppress(Refusal):
            session = await tab.here.storage.get(tab.session_id)
            if session and session.assisting_admin_id:
                await tab.here.takeovers.end(session, new_id(), reason="away")

    async def say_as_staff(self, tab, choice):
        with suppress(Refusal):
            await tab.here.takeovers.say(eve(choice), tab.session_id, new_id(), f"I look into it {choice}")

    async def note_as_staff(self, tab, choice):
        with suppress(Refusal):
            await tab.here.takeovers.note(eve(choice), tab.session_id, new_id(), "a difficult one")

    async def send_a_file(self, tab, choice):
        await self.enter(tab, Kind.FILE_UPLOAD, Sender.USER, content="a.pdf", file_id=f"file-{choice}")

    async def speak_into_it(self, tab, choice):
        await self.enter(tab, Kind.VOICE_MESSAGE, Sender.USER, file_id=f"voice-{choice}")

    async def tell_of_help(self, tab, _):
        told = {"event": "help_state", "state": "told", "at": "2026-11-21T10:00:00Z"}
        await self.enter(tab, Kind.NOTIFICATION, Sender.SYSTEM, Change(help_state=Help.TOLD), metadata=told)

    async def tell_of_hours(self, tab, _):
        closed = {"event": "help_state", "state": "asked", "open": "false", "opens_at": "2026-11-23T09:00:00Z"}
        await self.enter(tab, Kind.NOTIFICATION, Sender.SYSTEM, metadata=closed)

    async def enter(self, tab, kind, sender, change=None, **fields):
        entry = Entry(
            session_id=tab.session_id, kind=kind, sender=sender, message_id=new_id(), timestamp=now_ms(), **fields
        )
        with suppress(NotFound):
            stored = await tab.here.storage.append(entry, change)
            await tab.here.backplane.publish(entry.session_id, Stored(stored.entry))


TEXTS = [
    "Hello there. How are you?",
    "  blanks around\t",
    "nul\0 in it",
    "Grüße 👋",
    "zwei\u2028Zeilen",
    "\n",
    "x" * 99,
]
PIECES = ["a ", "piece ", "né", "👩‍👩‍👧", "\n\n", "**", "```\ncode\n```"]

# The names of the operations.
OFTEN = ["say", "speak", "speak", "finish", "cut", "cut", "cut", "come_back", "regenerate", "look", "stop"]
SELDOM = [
    "say_to_another_model", "select_model", "ask_for_help", "need_no_help", "type", "ping", "read", "slow_down",
    "speed_up", "be_hinted", "reload", "rename", "share", "end_it", "delete", "restore", "show_a_file", "fail",
    "join_as_staff", "join_as_staff", "hand_on_as_staff", "leave_as_staff", "leave_as_staff", "be_away_as_staff",
    "say_as_staff", "say_as_staff", "note_as_staff", "send_a_file", "speak_into_it", "tell_of_help", "tell_of_hours",
    "leave_an_address",
]  # fmt: skip


@asynccontextmanager
async def happenings(mirror):
    bus, models = MemoryBus(), [Dictated("one"), Dictated("two")]
    async with Yielding(MemoryStorage()) as storage:
        quotas = Far({FRAMES: Window(10_000, 60.0)}, {LISTENERS: Pool(linger=900.0), ANSWERS: Pool()})
        here, there = (
            World(storage, *models, backplane=MemoryBackplane(bus), quotas=quotas, limits=PATIENT) for _ in range(2)
        )
        async with here.tasks, there.tasks:
            yield Happenings(storage.inner, here, there, models, mirror)


def check(steps, mirror=Mirror):
    """Take steps (operation, tab, a number to choose by, turns of the loop after it) and compare all that is shown."""
    with ExitStack() as around:
        runner = around.enter_context(asyncio.Runner(loop_factory=Impatient))
        around.enter_context(patch("time.monotonic", runner.get_loop().time))
        around.enter_context(patch("chatbox.hub.MAX_REPLAY_ENTRIES", NEAR))
        runner.run(story(steps, mirror))


async def story(steps, mirror):
    async with happenings(mirror) as made:
        try:
            await made.happen(steps)
        finally:
            await made.end()
