"""Replicas of the shipped application over one store and one bus, all in one simulation."""

from __future__ import annotations

import asyncio
import base64
import contextvars
import random
import zlib
from contextlib import ExitStack, asynccontextmanager, contextmanager
from unittest.mock import patch

import detangle
import structlog

from chatbox import app as shipped
from chatbox import session as values
from chatbox.app import App, Parts, shared_counts
from chatbox.auth import mint
from chatbox.config import Config
from chatbox.connection import Connection
from chatbox.connections import SOCKETS
from chatbox.session import Kind
from chatbox.storage.memory import MemoryStorage
from chatbox.storage.seals import Seals
from chatbox.tasks import Tasks
from tests.schedules.book import Book
from tests.schedules.people import Client
from tests.schedules.staff import Member
from tests.schedules.surroundings import Air, Host, Planted, Store, Typist, healthy

SECRET = "Zk3vW8qLr5TnX1cYb7Hd9Fg2Jm4Ps6Ua"
ENV = {
    "CHATBOX_MODE": "development",
    "JWT_SECRET": SECRET,
    "ENCRYPTION_KEY": "Zk3vQm8Rw1Xb6Nc9Tf2Yh5Lj7Pd4Gs0A",
    "LLM_PROVIDER_1_TYPE": "echo",
    "RATE_LIMIT": "1000",
}
TOKENS = {user: mint(SECRET, user, user.title(), (), 1e9) for user in ("ann", "bob")}
CONFIGS = {}
LAST = {}
"""The book of the last run."""
PATIENCE = 20.0
"""Longer than anything may take: a lease runs out after 10 s, and who waits for it looks every 2 s."""


def config(**settings):
    key = tuple(sorted(settings.items()))
    if key not in CONFIGS:
        CONFIGS[key] = Config.load(ENV | settings)
    return CONFIGS[key]


class Replica(App):
    """The shipped application; its HTTP side is made when it is first called, as that takes longer than a run."""

    def __init__(self, number, cluster, trouble):
        self.cluster = cluster
        self.name = f"replica-{number}"
        self.host = Host(self.name, cluster.air.slow)
        self.closed = False
        self._http_side = None
        plane, counts = cluster.air.parts(self.host, cluster.config)
        model = cluster.config.providers[0].id
        self.cells = store = Store(self.host, cluster.shared, cluster.book, trouble)
        providers = {model: cluster.typist(model, self.host, cluster.book)}
        super().__init__(cluster.config, Parts(store, plane, counts, providers))
        self._stopping = asyncio.Event()
        self._up = asyncio.Event()
        self.main = None

    @property
    def app(self):
        return self

    def _build_http(self):
        async def http(scope, receive, send):
            self._http_side = self._http_side or App._build_http(self)
            await self._http_side(scope, receive, send)

        return http

    async def start(self):
        self.main = detangle.spawn(self._live(), host=self.name)
        self.main.add_done_callback(lambda _: self._up.set())
        await self._up.wait()
        if self.main.done():
            self.main.result()

    async def _live(self):
        self.host.context = contextvars.copy_context()
        async with self.running():
            self._up.set()
            await self._stopping.wait()

    async def shut_down(self, seconds=5.0):
        """What the server does at a signal."""
        self.cluster.book.note(self.name, "leaves")
        await detangle.spawn(self.drain(seconds), host=self.name)
        self.closed = True
        self._hang_up()
        self._stopping.set()
        await self.main

    def die(self):
        """End without a word; the lines of its sockets are gone."""
        self.cluster.book.note(self.name, "dies")
        self._hang_up()
        self.host.dead = True
        self.cluster.air.dies(self.backplane)
        detangle.network().crash(self.name)

    def _hang_up(self):
        """Drop the lines that are still there, as a server does at its end."""
        for client in self.cluster.clients:
            if client.socket and client.socket.replica is self:
                client.socket.cut()

    async def page(self, user, session_id):
        """The stored messages, as the HTTP route reads them."""
        principal = await self.authenticator.verify(TOKENS[user])
        return await self.conversations.page(await self.sessions.own(principal, session_id))

    async def call(self, method, path, user="ann"):
        """An HTTP call's status."""
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": self.config.path_prefix + path,
            "raw_path": (self.config.path_prefix + path).encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"authorization", f"Bearer {TOKENS[user]}".encode()), (b"host", b"localhost")],
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 80),
        }
        sent = []

        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            sent.append(message)

        await detangle.spawn(self(scope, receive, send), host=self.name)
        return sent[0]["status"]


class Cluster:
    """``replicas`` over one store, one bus and one set of counts."""

    def __init__(self, *, air=None, trouble=healthy, typist=Typist, store=None, **settings):
        self.config = config(**settings)
        self.shared = store or MemoryStorage()
        self.book = Book(Seals(self.config.keyring))
        self.air = air or Air()
        self.typist = typist
        self.trouble = trouble
        self.replicas = []
        self.clients = []
        self.tolerated = frozenset()
        self.any_failure = False
        self.broken_sockets = 0
        self._staying = []

    async def open(self, replicas):
        await self.air.open(*shared_counts(self.config))
        self.replicas = [Replica(number, self, self.trouble) for number in range(replicas)]
        await asyncio.gather(*[replica.start() for replica in self.replicas])

    @property
    def alive(self):
        return [replica for replica in self.replicas if not replica.host.dead and not replica.closed]

    @staticmethod
    def token(user):
        return TOKENS[user]

    def client(self, **options):
        """Someone who is about to come."""
        made = Client(self, f"client-{len(self.clients)}", **options)
        self.clients.append(made)
        return made

    def staff(self, user, roles=("chat_admin",)):
        """A member of staff."""
        return Member(self, user, roles)

    async def enter(self, number, **options):
        """A client on a replica, attached, that comes back whenever its line is gone."""
        made = await self.client(**options).enter(self.replicas[number])
        self.staying(made)
        return made

    def staying(self, client):
        """From now on the client comes back."""
        self._staying.append(asyncio.create_task(client.stay(), name=f"{client.name} stays"))

    async def more(self):
        """One more replica."""
        made = Replica(len(self.replicas), self, self.trouble)
        self.replicas.append(made)
        await made.start()
        return made

    # -- what befalls it -----------------------------------------------------------------------------------------------

    async def stand_still(self, replica, seconds, during=lambda: None):
        """Pause a replica. If its leases run out meanwhile, another one may write before it notices."""
        self.book.one_writer = False
        self.book.note(replica.name, "stands still")
        replica.host.pause()
        asyncio.get_running_loop().call_later(self.air.left(), self._lapse, replica)
        during()
        await asyncio.sleep(seconds)
        self.book.note(replica.name, "goes on")
        replica.host.resume()

    def _lapse(self, replica):
        if replica.host.paused:
            self.air.lapse(replica.backplane)

    async def goes(self, replica, how):
        """A replica dies, leaves or stands still for a while."""
        match how:
            case "dies":
                replica.die()
            case "leaves":
                await replica.shut_down(2.0)
            case _:
                await self.stand_still(replica, detangle.uniform(1.0, 20.0))

    def trouble_with(self, trouble=healthy):
        """From now on, or no more."""
        for replica in self.replicas:
            replica.cells.trouble = trouble

    @property
    def failed(self):
        return sum(replica.tasks.failed for replica in self.replicas)

    def socket_failed(self, error):
        """The endpoint raised: only a planted defect may come so far."""
        self.broken_sockets += 1
        if not isinstance(error, Planted):
            self.book.breach(f"the endpoint raised {error!r}")

    def counted(self, struck):
        """If a defect has struck, it was counted, or someone was told."""
        self.any_failure = True
        told = any(client.errors for client in self.clients) or self.broken_sockets
        assert not struck or self.failed or told, f"the defect in {struck} was passed over in silence"

    def finished(self, client, *expected, last=""):
        """The answers of the client's session ended as expected, the last one so."""
        finishes = [entry.metadata["finish_reason"] for entry in self.book.entries(client.session_id, Kind.AI_RESPONSE)]
        assert finishes, "there is no answer"
        assert set(finishes) <= set(expected), f"answers ended so: {finishes}"
        assert last in ("", finishes[-1]), f"the last answer ended so: {finishes}"

    # -- at rest -------------------------------------------------------------------------------------------------------

    async def settled(self, patience=PATIENCE):
        """Wait until everyone has everything and nothing is owed, and see that it stays so."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while lacking := self.lacking():
            assert loop.time() < deadline, f"after {patience} s: {'; '.join(lacking)}"
            await asyncio.sleep(0.25)
        lengths = {session_id: len(log) for session_id, log in self.book.logs.items()}
        await asyncio.sleep(3)
        assert not self.lacking(), self.lacking()
        assert lengths == {session_id: len(log) for session_id, log in self.book.logs.items()}, "it was not at rest"
        await self._takeovers_are_kept()
        await self._late_comers()
        self._nothing_failed()

    async def nothing_left(self, patience=5.0):
        """No lease, no piece and no answer is left, when nobody happens to look for some."""
        for _ in range(round(patience / 0.1)):
            left = [*self.air.leases(), *self.air.logs(), *[one.name for one in self.alive if len(one.replies)]]
            if not left:
                return
            await asyncio.sleep(0.1)
        raise AssertionError(f"this is left: {left}")

    def lacking(self):
        lacking = [text for client in self.clients if (text := client.lacks())]
        lacking += self.book.unfinished()
        for replica in self.alive:
            if len(replica.replies):
                lacking.append(f"{replica.name} still answers")
        return lacking + [f"someone has the lease of {session_id}" for session_id in self.air.leases()]

    async def _takeovers_are_kept(self):
        """Of each takeover that has ended it is kept who had the session from when on, and how much they said."""
        for copy in await self.shared.copies("", 100):
            kept = [(takeover.admin_id, takeover.index, takeover.messages) for takeover in copy.takeovers]
            assert kept == self.book.ended_takeovers(copy.session.id), f"these takeovers are kept: {kept}"

    async def _late_comers(self):
        """Whoever comes now with the position 0 gets all of it, on each replica."""
        for session_id in [known for known in self.book.logs if known not in self.book.deleted]:
            one = next(client for client in self.clients if client.session_id == session_id)
            for replica in self.alive:
                late = Client(self, f"late-on-{replica.name}", user=one.user, session_id=session_id)
                late.epoch = one.epoch
                await late.enter(replica)
                assert not late.reloads, "a complete replay was refused"
                await self._complete(late)
                late.socket.cut()
                await late.socket.left()

    @staticmethod
    async def _complete(client, patience=5.0):
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while lacking := client.lacks():
            assert loop.time() < deadline, lacking
            await asyncio.sleep(0.25)

    def _nothing_failed(self):
        assert self.any_failure or not self.failed, f"{self.failed} background tasks failed"
        unread = {code for client in self.clients for code in client.errors}
        assert not unread - self.tolerated, f"clients were told of {unread}"

    def tolerates(self, *codes):
        """What clients may be told of in this run."""
        self.tolerated = frozenset(codes)

    async def sockets_of(self, user):
        """How many sockets the replicas count for a user."""
        return len(await self.alive[0].quotas.members(SOCKETS, user))

    async def close(self):
        for task in self._staying:
            task.cancel()
        for client in self.clients:
            if client.socket:
                client.socket.cut()


@asynccontextmanager
async def cluster(air=None, *, replicas=2, **options):
    """A running cluster, whose promises are looked at after each step."""
    made = Cluster(air=air, **options)
    LAST["book"] = made.book
    detangle.invariant(made.book.check, "promises")
    await made.open(replicas)
    yield made
    await made.close()
    made.air.close()


# -- what else is not the schedule's -----------------------------------------------------------------------------------


class Ids:
    """Random ids of a schedule: the same in each run of it."""

    @staticmethod
    def token_urlsafe(size):
        return base64.urlsafe_b64encode(random.randbytes(size)).rstrip(b"=").decode()


class InOrder(dict):
    """A set that is in the order of its growth."""

    add = dict.setdefault

    def discard(self, member):
        self.pop(member, None)


shipped_tasks = Tasks.__init__


def _in_order(self):
    shipped_tasks(self)
    self._running = InOrder()


class NoCollector:
    """Collecting garbage takes longer than a run."""

    @staticmethod
    def collect():
        """Not now."""

    freeze = collect


@contextmanager
def determined():
    """Ids come from the schedule, sets of sockets and of tasks have an order, and errors that are logged go into the
    story."""
    with ExitStack() as stack:
        stack.enter_context(patch.object(Connection, "__hash__", lambda self: zlib.crc32(self.id.encode())))
        stack.enter_context(patch.object(Tasks, "__init__", _in_order))
        stack.enter_context(patch.object(values, "secrets", Ids))
        stack.enter_context(patch.object(shipped, "gc", NoCollector))
        structlog.configure(processors=[_tell], cache_logger_on_first_use=False)
        stack.callback(structlog.reset_defaults)
        yield


def _tell(logger, method, event):
    if method in ("error", "exception") and "book" in LAST:
        LAST["book"].note("logged:", event["event"], event.get("task", ""), repr(event.get("exc_info", "")))
    raise structlog.DropEvent
