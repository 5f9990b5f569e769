"""What a replica stands on, with explored time: its machine, the store, the way to the others, and a model.

The parts are shipped ones, or follow their contracts where others would be needed: every call takes time before and
after it has happened, events come late, doubled, reordered or not at all, and a machine may die or stand still.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
from collections import deque

import detangle

from chatbox.backplane.base import LEASE, Behind, Quotas
from chatbox.backplane.memory import MemoryBackplane, MemoryBus, MemoryQuotas
from chatbox.errors import StorageBusy
from chatbox.llm.base import End, File, Piece, Provider, ProviderSettings
from chatbox.session import STEP
from chatbox.storage.base import CellStorage

HOP = 0.03
"""The longest way to a part and back, in s each."""
SLOW = 10
"""A way that takes so many times as long, now and then."""
RENEWED = 3.0
"""So long ago a lease may have been renewed when its holder dies."""


class Host:
    """A replica's machine: of a dead one nothing gets out, of one that stands still nothing until it goes on."""

    def __init__(self, name, slow=0.0):
        self.name = name
        self.slow = slow
        self.dead = False
        self.context = contextvars.copy_context()
        self._going = asyncio.Event()
        self._going.set()
        self._held = deque()

    @property
    def paused(self):
        return not self._going.is_set()

    async def gate(self):
        if not self.dead:
            await self._going.wait()
        if self.dead:
            raise asyncio.CancelledError

    async def hop(self, longest=HOP):
        """The way to a part, or back."""
        await self.gate()
        await asyncio.sleep(self.way(longest))
        await self.gate()

    def way(self, longest=HOP):
        """How long a way takes."""
        return detangle.uniform(0, longest) * (SLOW if detangle.flip(self.slow) else 1)

    def when_going(self, work, *args):
        """Do something that comes from outside, or goes there; held while the machine stands still."""
        if self.dead:
            return
        if self.paused:
            self._held.append((work, args))
        else:
            work(*args)

    def pause(self):
        self._going.clear()

    def resume(self):
        self._going.set()
        held, self._held = self._held, deque()
        for work, args in held:
            self.when_going(work, *args)


def _through(name):
    """A member of the store as it is reached from a replica: calls take their time, what is no call is the store's."""

    async def call(self, *args, **kwargs):
        return await self.around(name, lambda: getattr(self.shared, name)(*args, **kwargs))

    def iterate(self, *args, **kwargs):
        return getattr(self.shared, name)(*args, **kwargs)

    member = getattr(CellStorage, name)
    if isinstance(member, property):
        return property(lambda self: getattr(self.shared, name))
    return call if inspect.iscoroutinefunction(member) else iterate


class Store(CellStorage):
    """The way of one replica to the store that all share. ``trouble`` may raise before a call, by its name."""

    def __init__(self, host, shared, book, trouble):
        self.host = host
        self.shared = shared
        self.book = book
        self.trouble = trouble

    async def around(self, name, call):
        await self.host.hop()
        self.trouble(name)
        outcome = await call()
        if name == "append":
            self.book.committed(outcome)
        await self.host.hop()
        return outcome

    vars().update({name: _through(name) for name in CellStorage.__abstractmethods__})

    async def delete(self, session_id, *args, **kwargs):
        async def call():
            outcome = await self.shared.delete(session_id, *args, **kwargs)
            if await self.shared.get(session_id) is None:
                self.book.removed(session_id)
            return outcome

        return await self.around("delete", call)


def busy(share):
    """A store that refuses some calls for the moment."""

    def trouble(name):
        if detangle.flip(share):
            raise StorageBusy("told to be busy")

    return trouble


def healthy(name):
    """A store without trouble."""


class Planted(Exception):
    """A defect that nobody foresaw."""


class Once:
    """A planted defect in one of the calls to the store after it was armed."""

    def __init__(self):
        self.left = None
        self.struck = ""

    def arm(self, calls):
        self.left = detangle.randint(1, calls)

    def __call__(self, name):
        if self.left is None:
            return
        self.left -= 1
        if self.left == 0:
            self.struck = name
            raise Planted(name)


class Air:
    """The way between the replicas. Events may be lost (``drop``), come twice (``double``) and overtake each other
    (unless ``ordered``); every ``beacon`` s each replica is told how far its sessions have come. Of the calls to any
    part, the share ``slow`` takes much longer than the others."""

    ends = ("dies", "leaves", "stands still")

    def __init__(self, *, drop=0.0, double=0.0, ordered=True, longest=HOP, slow=0.05, beacon=2.0):
        self.bus = MemoryBus()
        self.drop, self.double, self.ordered, self.longest, self.beacon = drop, double, ordered, longest, beacon
        self.slow = slow
        self.lost = 0

    async def open(self, windows, pools):
        self.shared = MemoryQuotas(windows, pools)
        self._shining = asyncio.create_task(self._shine(), name="beacon")

    def close(self):
        self._shining.cancel()

    def parts(self, host, config):
        """A replica's backplane and counts."""
        return Plane(host, self), Counts(host, self.shared)

    def leases(self):
        """The sessions that somebody has the lease of."""
        return list(self.bus.leases)

    def logs(self):
        """The sessions with pieces of an answer."""
        return list(self.bus.answers)

    async def _shine(self):
        while True:
            await asyncio.sleep(self.beacon)
            for plane in self.bus.planes:
                for session_id in plane.listened:
                    plane.deliver(session_id, Behind(self._newest(session_id)))

    def carry(self, plane, session_id, event):
        if detangle.flip(self.drop):
            self.lost += 1
            return
        for _ in range(1 + detangle.flip(self.double)):
            plane.arrive(detangle.uniform(0, self.longest), session_id, event)

    def dies(self, plane):
        """A dead replica's leases run out, and what it counted is free some time later; nobody is told."""
        self.bus.planes.remove(plane)
        asyncio.get_running_loop().call_later(self.left(), self.lapse, plane)

    @staticmethod
    def left():
        """What is left of the leases of a holder that is silent from now on."""
        return LEASE - detangle.uniform(0, RENEWED)

    def lapse(self, plane):
        for session_id, (_, holder) in list(self.bus.leases.items()):
            if holder is plane:
                del self.bus.leases[session_id]

    def _newest(self, session_id):
        answer = self.bus.answers.get(session_id)
        return max(self.bus.known.get(session_id, 0) * STEP, answer.seq if answer else 0)


class Plane(MemoryBackplane):
    """The shipped backplane of one replica, with a way to the bus and back; what it publishes, it hears itself when the
    bus has answered."""

    def __init__(self, host, air):
        super().__init__(air.bus)
        self.host = host
        self.air = air
        self._own = []
        self._last = 0.0

    @property
    def listened(self):
        return sorted(self._listening)

    async def _call(self, work):
        await self.host.hop()
        loop = asyncio.get_running_loop()
        try:
            outcome = await work()
        finally:
            own, self._own = self._own, []
            answered = loop.create_future()
            loop.call_later(self.host.way(), self.host.when_going, self._answered, own, answered)
        await answered
        return outcome

    def _answered(self, own, answered):
        for session_id, event in own:
            self._receiver(session_id, event)
        if not answered.done():
            answered.set_result(None)

    async def listen(self, session_id):
        await self._call(lambda: MemoryBackplane.listen(self, session_id))

    async def ignore(self, session_id):
        await self._call(lambda: MemoryBackplane.ignore(self, session_id))

    async def publish(self, session_id, event):
        await self._call(lambda: MemoryBackplane.publish(self, session_id, event))

    async def acquire(self, session_id, answer_id):
        return await self._call(lambda: MemoryBackplane.acquire(self, session_id, answer_id))

    async def begin(self, session_id, turn):
        await self._call(lambda: MemoryBackplane.begin(self, session_id, turn))

    async def push(self, session_id, answer_id, text):
        await self._call(lambda: MemoryBackplane.push(self, session_id, answer_id, text))

    async def finish(self, session_id, answer_id, *, stored=True):
        await self._call(lambda: MemoryBackplane.finish(self, session_id, answer_id, stored=stored))

    async def running(self, session_id, known):
        return await self._call(lambda: MemoryBackplane.running(self, session_id, known))

    async def __aexit__(self, *reason):
        if not self.host.dead:
            await super().__aexit__(*reason)

    def _tell(self, session_id, event):
        for plane in self.air.bus.planes:
            if plane is self and session_id in self._listening:
                self._own.append((session_id, event))
            elif session_id in plane._listening:
                self.air.carry(plane, session_id, event)

    def arrive(self, delay, session_id, event):
        """Hear of an event in a while."""
        loop = asyncio.get_running_loop()
        when = loop.time() + delay
        if self.air.ordered:
            when = self._last = max(when, self._last)
        loop.call_at(when, self.deliver, session_id, event, context=self.host.context)

    def deliver(self, session_id, event):
        self.host.when_going(self._heard, session_id, event)

    def _heard(self, session_id, event):
        if session_id in self._listening:
            self._receiver(session_id, event)


class Counts(Quotas):
    """The way of one replica to the counts that all share. What a dead process held is free a minute later."""

    def __init__(self, host, shared):
        self.host = host
        self.shared = shared
        self._held = {}

    async def hit(self, window, key):
        await self.host.hop()
        return await self.shared.hit(window, key)

    async def enter(self, pool, key, member):
        await self.host.hop()
        self._held[pool, key, member] = True
        return await self.shared.enter(pool, key, member)

    async def leave(self, pool, key, member):
        await self.host.hop()
        self._held.pop((pool, key, member), None)
        await self.shared.leave(pool, key, member)

    async def members(self, pool, key):
        await self.host.hop()
        return await self.shared.members(pool, key)

    async def clean(self, interval):
        await self.shared.clean(interval)

    async def forget(self):
        """Give up what is held, some time after a death."""
        await asyncio.sleep(60)
        await self._leave_all()

    async def _leave_all(self):
        held, self._held = list(self._held), {}
        for place in held:
            await self.shared.leave(*place)

    async def __aexit__(self, *reason):
        if not self.host.dead:
            await self._leave_all()


class Typist(Provider):
    """Says a question again between « and », letter by letter, at an explored pace; ``files`` is the share of letters
    that a file follows."""

    files = 0.0

    def __init__(self, name, host, book, pace=0.1):
        super().__init__(ProviderSettings(id=name, name=name, type="echo"))
        self.host = host
        self.book = book
        self.pace = pace

    async def stream(self, prompt):
        text = answer_to(prompt.turns[-1].content)
        self.book.asked(prompt)
        self.book.writes(prompt.session_id, text)
        try:
            for letter in text:
                await self.host.hop(self.pace)
                yield Piece(letter)
                if detangle.flip(self.files):
                    yield File("https://model.example/picture", "picture")
            yield End()
        finally:
            self.book.wrote(prompt.session_id)


class Illustrator(Typist):
    """Now and then it shows a picture."""

    files = 0.1


def answer_to(question):
    return f"«{question}»"
