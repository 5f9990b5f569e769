"""Revoked tokens and blocked users: who is refused, on every replica, and how soon."""

import asyncio
import time
from contextlib import AsyncExitStack, asynccontextmanager

import aiohttp
import jwt
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chatbox import access as module
from chatbox.access import Access, Block
from chatbox.app import App, open_parts
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.config import Config
from chatbox.errors import Forbidden, InvalidToken, StorageBusy
from chatbox.hub import Hub
from chatbox.session import ADMIN, Principal, now_ms
from chatbox.storage.memory import MemoryStorage
from chatbox.tasks import Tasks
from tests import mutants
from tests.live import DEVELOPMENT, ECHO, SECRET, Client, running, token
from tests.redis_server import RedisServer

WITHIN = 5.0
"""Seconds within which a revocation is in force everywhere."""


def who(user="ann", *, issued=1000.0, roles=()):
    return Principal(user_id=user, name=user.title(), roles=frozenset(roles), expires=2e9, issued=issued)


def block(**fields):
    return Block(**{"by": "root", "by_name": "Root", "at": now_ms(), "by_admin": True} | fields)


def standing(access, principal):
    """What a principal is told: None, or the code of the refusal."""
    try:
        access.check(principal)
    except (InvalidToken, Forbidden) as refusal:
        return str(refusal.code)
    return None


@asynccontextmanager
async def replicas(count=1, storage=None, bus=None):
    """Each replica's view, on one store; with a bus between them, or with nothing."""
    storage = storage or MemoryStorage()
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(count):
            tasks = await stack.enter_async_context(Tasks())
            backplane = await stack.enter_async_context(MemoryBackplane(bus))
            access = Access(storage.records, Hub(storage, backplane, tasks), backplane)
            await access.load()
            access.tasks = tasks
            made.append(access)
        yield made


async def learns(access, principal, code, patience=10.0):
    """Wait until a principal is told this here."""
    async with asyncio.timeout(patience):
        while standing(access, principal) != code:
            await asyncio.sleep(0.01)


# -- who is refused ----------------------------------------------------------------------------------------------------


async def test_tokens_issued_up_to_the_time_are_void_and_later_ones_good():
    async with replicas() as (access,):
        await access.revoke("ann", 1000.0)
        assert standing(access, who(issued=999.0)) == "INVALID_TOKEN"
        assert standing(access, who(issued=1000.0)) == "INVALID_TOKEN"
        assert standing(access, who(issued=1000.5)) is None
        assert standing(access, who("bob", issued=1.0)) is None


async def test_a_token_that_does_not_say_when_it_was_issued_is_void_after_any_revocation():
    async with replicas() as (access,):
        assert standing(access, who(issued=None)) is None
        await access.revoke("ann", 0.0)
        assert standing(access, who(issued=None)) == "INVALID_TOKEN"
        assert standing(access, who(issued=1.0)) is None


@settings(max_examples=100)
@given(st.lists(st.floats(0, 2e9), min_size=1, max_size=6), st.floats(0, 2e9) | st.none())
def test_what_was_void_stays_so_in_whatever_order_revocations_come(times, issued):
    async def run():
        async with replicas() as (access,):
            for before in times:
                await access.revoke("ann", before)
            void = issued is None or issued <= max(times)
            assert (standing(access, who(issued=issued)) == "INVALID_TOKEN") is void

    asyncio.run(run())


async def test_a_block_holds_until_its_time_or_until_it_is_lifted(monkeypatch):
    async with replicas() as (access,):
        await access.block("ann", block())
        await access.block("bob", block(until=now_ms() + 60_000))
        assert [standing(access, who(name)) for name in ("ann", "bob", "kim")] == ["INSUFFICIENT_PERMISSIONS"] * 2 + [
            None
        ]
        assert [user for user, _ in access.blocks()] == ["ann", "bob"]
        monkeypatch.setattr(module, "now_ms", lambda: now_ms() + 61_000)
        assert standing(access, who("bob")) is None
        assert [user for user, _ in access.blocks()] == ["ann"]
        await access.unblock("ann")
        await access.unblock("nobody")
        assert standing(access, who("ann")) is None


async def test_only_an_administrator_keeps_administrators_out():
    async with replicas() as (access,):
        await access.block("root", block(by_admin=False))
        assert standing(access, who("root", roles=[ADMIN])) is None
        assert standing(access, who("root", roles=["chat_admin"])) == "INSUFFICIENT_PERMISSIONS"
        await access.block("root", block())
        assert standing(access, who("root", roles=[ADMIN])) == "INSUFFICIENT_PERMISSIONS"


# -- on every replica --------------------------------------------------------------------------------------------------


def yielding(call):
    """A call to a store that others get in between of."""

    async def called(*args, **options):
        await asyncio.sleep(0)
        found = await call(*args, **options)
        await asyncio.sleep(0)
        return found

    return called


async def test_of_all_that_is_done_at_once_on_all_replicas_nothing_is_lost(monkeypatch):
    async with replicas(3, bus=MemoryBus()) as all_of_them:
        for name in ("add", "get", "replace", "find"):
            records = all_of_them[0]._records
            monkeypatch.setattr(records, name, yielding(getattr(records, name)))
        times = [float(number) for number in range(60)]
        await asyncio.gather(
            *(all_of_them[number % 3].revoke("ann", at) for number, at in enumerate(times)),
            *(access.block("ann", block()) for access in all_of_them),
        )
        for access in all_of_them:
            await access.load()
            assert standing(access, who(issued=59.0)) == "INVALID_TOKEN"
            assert standing(access, who(issued=59.5)) == "INSUFFICIENT_PERMISSIONS"


async def test_others_learn_of_it_at_once_over_the_bus(monkeypatch):
    monkeypatch.setattr(module, "POLL", 3600.0)
    async with replicas(2, bus=MemoryBus()) as (here, there):
        there.tasks.keep(there.watch, "access")
        await asyncio.sleep(0)
        await here.revoke("ann", 1000.0)
        await learns(there, who(), "INVALID_TOKEN")


async def test_others_learn_of_it_in_time_without_a_bus():
    async with replicas(2) as (here, there):
        there.tasks.keep(there.watch, "access")
        begun = time.monotonic()
        await here.revoke("ann", 1000.0)
        await learns(there, who(), "INVALID_TOKEN")
        assert time.monotonic() - begun < WITHIN - 1


@pytest.mark.parametrize("step", [-3_600_000, 3_600_000], ids=["behind", "ahead"])
async def test_others_learn_of_it_in_time_whatever_the_clock_of_who_did_it_says(monkeypatch, step):
    """The writer's clock is an hour off, then right again: neither news is overlooked."""
    monkeypatch.setattr(module, "POLL", 0.05)
    async with replicas(2) as (here, there):
        there.tasks.keep(there.watch, "access")
        await here.revoke("kim", 1000.0)
        await learns(there, who("kim"), "INVALID_TOKEN")
        with monkeypatch.context() as off:
            off.setattr(module, "now_ms", lambda: now_ms() + step)
            await here.revoke("ann", 1000.0)
        await learns(there, who("ann"), "INVALID_TOKEN", patience=WITHIN)
        await here.revoke("bob", 1000.0)
        await learns(there, who("bob"), "INVALID_TOKEN", patience=WITHIN)


async def test_news_that_lie_far_back_are_found_by_the_look_at_everything(monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.02)
    monkeypatch.setattr(module, "WHOLE", 0.1)
    async with replicas(2) as (here, there):
        there.tasks.keep(there.watch, "access")
        await here.revoke("kim", 1000.0)
        await learns(there, who("kim"), "INVALID_TOKEN")
        late = replace(await here._records.get(module.KIND, "kim"), id="ann", at=5)
        await here._records.add(late)
        await learns(there, who("ann"), "INVALID_TOKEN")


async def test_all_of_them_are_known_from_the_start_however_many(monkeypatch):
    monkeypatch.setattr(module, "PAGE", 7)
    async with replicas() as (access,):
        monkeypatch.setattr(module, "now_ms", lambda: 5_000)
        for number in range(40):
            await access.revoke(f"user{number}", 1000.0)
        again = Access(access._records, access._hub, access._backplane)
        await again.load()
        assert all(standing(again, who(f"user{number}")) == "INVALID_TOKEN" for number in range(40))


async def test_a_list_that_lags_behind_takes_nothing_back():
    async with replicas() as (access,):
        await access.revoke("ann", 1000.0)
        old = await access._records.get(module.KIND, "ann")
        await access.block("ann", block())
        access._take(old)
        assert standing(access, who(issued=2000.0)) == "INSUFFICIENT_PERMISSIONS"


OPS = st.tuples(
    st.sampled_from(["revoke", "block", "unblock", "look"]),
    st.integers(0, 2),
    st.sampled_from(["ann", "bob"]),
    st.integers(0, 5),
    st.sampled_from([0, -3_600_000, 3_600_000, -50, 50]),
)
"""What is done, on which replica, about whom, up to which time, and how far that replica's clock is off."""


async def check_views(steps, kind=Access):
    """Each replica that looks for news has all of them, however far the clocks are apart."""
    void, blocked, storage = {}, set(), MemoryStorage()
    clock = module.now_ms
    backplanes = [MemoryBackplane() for _ in range(3)]
    views = [kind(storage.records, Hub(storage, plane, Tasks()), plane) for plane in backplanes]
    try:
        for what, number, user, at, off in steps:
            module.now_ms = lambda off=off: now_ms() + off
            access = views[number]
            if what == "revoke":
                await access.revoke(user, float(at))
                void[user] = max(at, void.get(user, 0))
            elif what == "block":
                await access.block(user, block())
                blocked.add(user)
            elif what == "unblock":
                await access.unblock(user)
                blocked.discard(user)
            else:
                await access._look(access._newest - module.OVERLAP)
                check_view(access, void, blocked)
    finally:
        module.now_ms = clock
    for access in views:
        await access._look(access._newest - module.OVERLAP)
        check_view(access, void, blocked)


def check_view(access, void, blocked):
    for user in ("ann", "bob"):
        for issued in (0.5, 2.5, 4.5, 9.0):
            expected = "INVALID_TOKEN" if issued <= void.get(user, -1) else None
            if expected is None and user in blocked:
                expected = "INSUFFICIENT_PERMISSIONS"
            assert standing(access, who(user, issued=issued)) == expected


@settings(max_examples=200)
@given(st.lists(OPS, min_size=2, max_size=20))
def test_who_looks_for_news_has_all_of_them_however_far_clocks_are_apart(steps):
    asyncio.run(check_views(steps))


class ByTheClock(Access):
    """Takes the time of a change from the clock."""

    async def _next_time(self):
        return module.now_ms()


class Forward(Access):
    """Goes on from its own changes, whatever else it has seen."""

    def _take(self, record):
        super()._take(record)
        self._newest = max(self._newest, record.at)


class Hasty(Access):
    """Takes whatever a list says for the newest."""

    def _take(self, record):
        if record.id not in self._standings:
            self._standings[record.id] = record.version, module._standing(record)


@pytest.mark.parametrize("kind", [ByTheClock, Forward, Hasty])
def test_a_replica_that_overlooks_news_would_be_found(kind):
    @settings(max_examples=400, phases=[Phase.generate])
    @given(st.lists(OPS, min_size=2, max_size=20))
    def broken(steps):
        asyncio.run(check_views(steps, kind))

    with mutants.found():
        broken()


async def test_a_look_that_breaks_off_halfway_is_no_look(monkeypatch):
    monkeypatch.setattr(module, "PAGE", 2)
    async with replicas(2) as (here, there):
        monkeypatch.setattr(module, "now_ms", lambda: 1_000)
        await here.revoke("ann", 1000.0)
        monkeypatch.setattr(module, "now_ms", lambda: 1_000_000)
        for user in ("bob", "kim", "lee"):
            await here.revoke(user, 1000.0)
        find = there._records.find

        async def halfway(*args, before, **options):
            if before:
                raise StorageBusy("the line is down")
            return await find(*args, before=before, **options)

        with monkeypatch.context() as broken:
            broken.setattr(there._records, "find", halfway)
            with pytest.raises(StorageBusy):
                await there.load()
        await there._look(there._newest - module.OVERLAP)
        assert all(standing(there, who(user)) == "INVALID_TOKEN" for user in ("ann", "bob", "kim", "lee"))


async def test_who_has_something_against_them_that_can_not_be_understood_is_kept_out():
    async with replicas(2) as (here, there):
        await here.revoke("kim", 1000.0)
        known = await here._records.get(module.KIND, "kim")
        for number, data in enumerate(({"revoked_before": "yesterday"}, {"block": 1}, {"block": {"by": "root"}})):
            await here._records.add(replace(known, id=f"user{number}", at=known.at + number, data=data))
        await there.load()
        assert standing(there, who("kim")) == "INVALID_TOKEN"
        for number in range(3):
            assert standing(there, who(f"user{number}")) == "INSUFFICIENT_PERMISSIONS"
        await there.unblock("user0")
        assert standing(there, who("user0")) is None


async def test_a_store_that_fails_for_a_while_changes_nothing_and_is_asked_again(monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.02)
    async with replicas(2) as (here, there):
        await here.revoke("kim", 1000.0)
        await there.load()
        find, failing = there._records.find, asyncio.Event()

        async def fail(*_args, **_kwargs):
            failing.set()
            raise StorageBusy("the disk is full")

        monkeypatch.setattr(there._records, "find", fail)
        there.tasks.keep(there.watch, "access")
        await failing.wait()
        assert standing(there, who("kim")) == "INVALID_TOKEN"
        monkeypatch.setattr(there._records, "find", find)
        await here.revoke("ann", 1000.0)
        await learns(there, who("ann"), "INVALID_TOKEN")


# -- with sockets open -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def two(folder, kind):
    """Two replicas with one store, and with a bus, a Redis or nothing between them."""
    with RedisOrNothing(kind) as url:
        config = Config.load(
            DEVELOPMENT | ECHO | {"CHATBOX_DATA_DIR": str(folder), "REDIS_URL": url, "DRAIN_TIMEOUT": "1s"}
        )
        cells, bus = MemoryStorage(), MemoryBus()
        apps = []
        for _ in range(2):
            parts = open_parts(config)._replace(cells=cells)
            apps.append(App(config, parts._replace(backplane=MemoryBackplane(bus)) if kind == "bus" else parts))
        async with running(folder, app=apps[0]) as one, running(folder, app=apps[1]) as other:
            yield one, other


class RedisOrNothing:
    """The address of a Redis of one's own, or of none."""

    def __init__(self, kind):
        self.server = RedisServer() if kind == "redis" else None

    def __enter__(self):
        return self.server.__enter__().url if self.server else ""

    def __exit__(self, *what):
        if self.server:
            self.server.__exit__(*what)


@asynccontextmanager
async def desk(live, bearer):
    """A staff socket after its first frame."""
    head = {"Authorization": f"Bearer {bearer}"}
    async with live.session.ws_connect(f"{live.http}/admin/ws", headers=head) as line:
        client = Client(line)
        await client.next("staff_status")
        yield client


async def status(live, path, bearer, method="GET", **options):
    head = {"Authorization": f"Bearer {bearer}"}
    async with live.session.request(method, live.http + path, headers=head, **options) as answer:
        return answer.status


async def handshake(live, path, bearer):
    """The status with which a handshake is refused."""
    head = {"Authorization": f"Bearer {bearer}"}
    try:
        async with live.session.ws_connect(f"{live.http}{path}", headers=head):
            return 101
    except aiohttp.WSServerHandshakeError as refused:
        return refused.status


async def refused_in_time(places, user, roles, order, code, answer):
    """Open sockets on all replicas; after the order, given on the first one, all close and nothing lets the user in."""
    old = token(user, roles=roles)
    async with AsyncExitStack() as stack:
        lines = []
        for live in places:
            chat = await stack.enter_async_context(live.socket(bearer=old))
            await chat.next()
            lines.append(chat)
            if roles:
                lines.append(await stack.enter_async_context(desk(live, old)))
        begun = time.monotonic()
        path, body = order
        assert await status(places[0], path, token("root", roles=["admin"]), "POST", json=body) == 200
        codes = await asyncio.gather(*(line.closed(patience=WITHIN + 1) for line in lines))
        assert codes == [code] * len(lines)
        assert time.monotonic() - begun < WITHIN
        for live in places:
            assert await status(live, "/sessions", old) == answer
            assert await handshake(live, "/ws", old) == answer
            if roles:
                assert await status(live, "/admin/help", old) == answer
                assert await handshake(live, "/admin/ws", old) == answer
        assert time.monotonic() - begun < WITHIN


@pytest.mark.parametrize("kind", ["bus", "alone", "redis"])
async def test_a_demoted_member_of_staff_is_refused_in_time_on_every_replica_with_sockets_open(tmp_path, kind):
    async with two(tmp_path, kind) as places:
        order = "/admin/revocations", {"user_id": "sue"}
        await refused_in_time(places, "sue", ["chat_admin"], order, 4401, 401)
        claims = {"user_id": "sue", "iat": int(time.time()) + 10, "exp": int(time.time()) + 3600}
        demoted = jwt.encode(claims, SECRET, "HS256")
        for live in places:
            assert await status(live, "/sessions", demoted) == 200
            assert await status(live, "/admin/help", demoted) == 403
            assert await handshake(live, "/admin/ws", demoted) == 403


@pytest.mark.parametrize("kind", ["bus", "alone", "redis"])
async def test_a_blocked_user_is_out_in_time_on_every_replica_with_sockets_open(tmp_path, kind):
    async with two(tmp_path, kind) as places:
        await refused_in_time(places, "ann", [], ("/admin/blocks", {"user_id": "ann"}), 4403, 403)
        assert await status(places[1], "/admin/blocks/ann", token("root", roles=["admin"]), "DELETE") == 204
        begun = time.monotonic()
        while await status(places[0], "/sessions", token("ann")) != 200:
            assert time.monotonic() - begun < WITHIN
            await asyncio.sleep(0.1)


async def test_a_replica_that_does_not_look_for_itself_would_be_found(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "POLL", 3600.0)
    async with two(tmp_path, "alone") as places:
        with mutants.found():
            await refused_in_time(places, "ann", [], ("/admin/blocks", {"user_id": "ann"}), 4403, 403)


async def test_a_frame_of_a_revoked_token_does_nothing(tmp_path):
    async with running(tmp_path) as live, live.socket("ann") as line:
        session_id = (await line.next())["session_id"]
        live.app.connections.tick = lambda: None
        await live.app.access.revoke("ann", time.time())
        await line.say("user_message", message_id="m", content="Do you hear me?")
        assert (await line.next("error"))["error"]["code"] == "INVALID_TOKEN"
        assert await line.closed() == 4401
        assert await live.app.storage.read(session_id) == []


async def test_a_socket_goes_on_with_a_token_that_was_issued_later(tmp_path):
    """What an app does that revokes all and hands out new tokens at once: no socket is closed for it."""
    async with running(tmp_path) as live:
        old, later = token("ann"), {"user_id": "ann", "iat": int(time.time()) + 20, "exp": int(time.time()) + 3600}
        async with live.socket("ann", bearer=jwt.encode(later, SECRET, "HS256")) as line:
            await line.next()
            await live.app.access.revoke("ann", time.time())
            live.app.connections.tick()
            await line.say("user_message", message_id="m", content="hi")
            assert (await line.next("ack"))["message_id"] == "m"
            await line.say("auth", message_id="a", content=old)
            assert (await line.next("error"))["error"]["code"] == "INVALID_TOKEN"
            await line.say("ping", message_id="p")
            assert (await line.next("pong"))["message_id"] == "p"
