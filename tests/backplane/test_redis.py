"""What is said of Redis: what lies in it, what goes over its channels, and what it may find there."""

import asyncio
import re
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from chatbox.backplane import open_backplane
from chatbox.backplane.base import Behind, Grant, Joined, Piece, Pool, Removed, Running, Signal, Stored, Turn, Window
from chatbox.backplane.memory import MemoryBackplane, MemoryQuotas
from chatbox.backplane.redis import RedisBackplane, RedisQuotas, Timing
from chatbox.errors import BackplaneDown, ConfigError, Fenced
from chatbox.keyring import Keyring
from chatbox.session import STEP
from tests.backplane.replicas import BARRIER, KEYRING, Replica, all_heard, eventually
from tests.redis_server import free_port
from tests.storage.values import entry

CANARY = "canary-sings"
LEASE, PIECES, AT, NODES = (f"chatbox:1:{{s}}:{name}" for name in ("lease", "log", "at", "nodes"))


@pytest.fixture
async def replicas(redis_server):
    """Two replicas that listen to the session ``s``."""
    async with several(redis_server.url) as opened:
        yield opened


@asynccontextmanager
async def several(url, count=2, timing=None, keyring=KEYRING):
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(count):
            plane = await stack.enter_async_context(RedisBackplane(url, keyring, timing=timing))
            opened.append(Replica(plane))
            await plane.listen(BARRIER)
            await plane.listen("s")
        yield opened


@pytest.fixture
def client(redis_server):
    with redis_server.client() as opened:
        yield opened


@pytest.fixture
def wire(client):
    """All that goes over channels, read by ``messages``."""
    with client.pubsub() as subscription:
        subscription.psubscribe("*")
        assert subscription.get_message(timeout=30)["type"] == "psubscribe"
        yield subscription


def messages(subscription):
    """What has been said until now."""
    subscription.ping()
    said = []
    while (message := subscription.get_message(timeout=30))["type"] != "pong":
        said.append(message["data"])
    return said


async def work(replica, text=CANARY):
    """A bit of everything that people do; the answer still runs."""
    plane = replica.plane
    message = entry("s", index=1, content=text, metadata={"name": text})
    await plane.publish("s", Stored(message))
    await plane.publish("s", Signal(f'{{"content": "{text}"}}'))
    await plane.publish("s", Joined("tab", 1))
    await plane.acquire("s", "a")
    await plane.begin("s", Turn("a", 2, 1))
    for _ in range(3):
        await plane.push("s", "a", text)
    await plane.running("s", 2)


async def test_nothing_is_in_the_clear(replicas, redis_server, client, wire):
    windows, pools = {"frames": Window(5, 60.0)}, {"sockets": Pool(3, linger=60.0)}
    async with RedisQuotas(redis_server.url, KEYRING, windows, pools) as quotas:
        await quotas.hit("frames", CANARY)
        await quotas.enter("sockets", CANARY, "socket")
        await work(replicas[0])
        await all_heard(*replicas)
        held = b"\n".join(client.dump(key) + key for key in client.scan_iter())
        said = b"\n".join(messages(wire))
    assert replicas[1].pieces()[0].text == CANARY
    assert len(said) > 500
    assert CANARY.encode() not in held + said


async def test_every_key_has_a_time_to_live(replicas, redis_server, client):
    windows, pools = {"frames": Window(5, 60.0)}, {"sockets": Pool(3, linger=60.0), "listeners": Pool()}
    async with RedisQuotas(redis_server.url, KEYRING, windows, pools) as quotas:
        for pool in pools:
            await quotas.enter(pool, "ann", "one")
            await quotas.enter(pool, "ann", "two")
            await quotas.leave(pool, "ann", "one")
        await quotas.hit("frames", "ann")
        await work(replicas[0])
        await replicas[1].plane.running("t", 7)
        lives = {key.decode(): client.pttl(key) for key in client.scan_iter()}
    assert {LEASE, PIECES, AT, NODES, "chatbox:1:born"} < lives.keys()
    assert len(lives) == 10
    assert all(0 < life <= 86_400_000 for life in lives.values())


async def test_everything_of_a_session_lies_under_one_hash_tag(replicas, client):
    await work(replicas[0])
    keys = {key.decode() for key in client.scan_iter()} - {"chatbox:1:born"}
    assert {re.fullmatch(r"chatbox:1:\{(\w+)\}:\w+", key)[1] for key in keys} == {"s", BARRIER}


async def test_a_replica_that_closes_leaves_no_lease_and_no_node(redis_server, client):
    async with several(redis_server.url) as opened:
        await work(opened[0])
        assert client.zcard(NODES) == 2
    assert not client.exists(LEASE, NODES)
    assert client.exists(PIECES)


async def test_a_finished_answer_leaves_only_its_position(replicas, client):
    await work(replicas[0])
    await replicas[0].plane.finish("s", "a")
    assert not client.exists(LEASE, PIECES)
    assert int(client.get(AT)) == 2 * STEP + 3


async def test_a_replica_alone_on_a_session_says_nothing_on_any_channel(replicas, wire):
    await replicas[1].plane.ignore("s")
    await work(replicas[0])
    assert not [message for message in messages(wire) if message != b"probe"]


# -- sizes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [48_000, 200_000])
async def test_what_is_big_is_not_said_on_a_channel_but_only_how_far_the_session_has_come(replicas, wire, size):
    teller, other = replicas
    big = "x" * size
    whole = size < 50_000
    await teller.plane.publish("s", Stored(entry("s", index=1, content=big)))
    await teller.plane.acquire("s", "a")
    await teller.plane.begin("s", Turn("a", 2, 1))
    await teller.plane.push("s", "a", big)
    await teller.plane.publish("s", Signal(big))
    await all_heard(*replicas)
    said = messages(wire)
    assert max(map(len, said)) <= 1 << 16
    assert (max(map(len, said)) > size) is whole
    if not whole:
        assert {event.__class__ for event in other.events()} == {Turn}
        assert ("s", STEP) in other.behind
        assert ("s", 2 * STEP + 1) in other.behind
        assert ("s", None) in other.behind
    assert (await other.plane.running("s", 2)).pieces == (Piece("a", 2 * STEP + 1, big),)
    assert [event.__class__ for event in teller.events()] == [Stored, Turn, Piece, Signal]


# -- what others may have written --------------------------------------------------------------------------------------


async def test_garbage_on_the_channel_is_survived(replicas, client):
    teller, other = replicas
    node = other.plane._node
    for garbage in (
        b"", b"\xff\xfe", b"x", b"\n", b"es\n", b"es\n|", b"ps\n", b"ps\na\n|", b"ps\na\nx|y", b"ts\n",
        b"ts\nt|v1.one.AAAA", b"ss\nv1.one.", b"js\n", b"bs\nx", b"es\n5|v1.two." + b"A" * 40, b"\x00" * 70_000,
    ):  # fmt: skip
        client.publish(f"chatbox:1:node:{node}", garbage)
    await teller.plane.publish("s", Removed())
    await other.until(lambda: other.events() == [Removed()])
    assert other.behind[0] == ("s", None)


async def test_an_event_of_a_newer_version_is_something_missed(replicas, client):
    teller, other = replicas
    client.publish(f"chatbox:1:node:{other.plane._node}", b"zs\nwhatever a newer version says here")
    await other.until(lambda: other.behind == [("s", None)])
    client.publish(f"chatbox:1:node:{other.plane._node}", b"znobody listens to this\n")
    await teller.plane.publish("s", Removed())
    await other.until(lambda: other.events() == [Removed()])
    assert other.behind == [("s", None)]


async def test_a_stream_of_events_that_cannot_be_read_is_reported_by_beats(redis_server, client):
    async with several(redis_server.url, 1, Timing(beacon=0.5)) as (replica,):
        for _ in range(500):
            client.publish(f"chatbox:1:node:{replica.plane._node}", b"zs\n")
        await replica.until(lambda: len(replica.behind) >= 2)
        await all_heard(replica)
        assert 2 <= len(replica.behind) < 20


async def test_fields_that_a_newer_version_adds_are_ignored(replicas, client, monkeypatch):
    codec = replicas[0].plane._codec
    grown = {"frame": "{}", "but": "", "colour": "green"}
    sealed = codec._seal(__import__("msgspec").msgpack.encode(grown), "s", "s")
    client.publish(f"chatbox:1:node:{replicas[1].plane._node}", f"ss\n{sealed}")
    await replicas[1].until(lambda: replicas[1].events() == [Signal("{}")])


async def test_a_message_moved_to_another_session_is_not_believed(replicas, wire, client):
    await replicas[1].plane.listen("t")
    await replicas[0].plane.publish("s", Signal("{}"))
    await all_heard(*replicas)
    (signal,) = [message for message in messages(wire) if message.startswith(b"ss\n")]
    client.publish(f"chatbox:1:node:{replicas[1].plane._node}", signal.replace(b"ss\n", b"st\n", 1))
    await replicas[1].until(lambda: ("t", None) in replicas[1].behind)
    assert replicas[1].events("t") == []


async def test_a_replica_with_another_key_hears_that_it_misses_something(redis_server, replicas):
    async with several(redis_server.url, 1, keyring=Keyring([("two", b"2" * 32)])) as (stranger,):
        await work(replicas[0])
        await stranger.until(lambda: ("s", None) in stranger.behind)
        assert stranger.events() == []
        assert await stranger.plane.running("s", 2) is None


async def test_a_piece_that_cannot_be_read_keeps_its_place(replicas, client):
    await work(replicas[0], "x")
    client.lset(PIECES, 2, f"{2 * STEP + 2}|damaged")
    client.rpush(PIECES, "garbage", b"\xff\xfe", "")
    found = await replicas[1].plane.running("s", 2)
    assert found.pieces == tuple(Piece("a", 2 * STEP + n, text) for n, text in ((1, "x"), (2, ""), (3, "x")))


async def test_a_log_that_cannot_be_read_is_no_running_answer(replicas, client):
    for row in ("", "garbage", "ta|v1.one.AAAA", b"\xff"):
        client.delete(PIECES)
        client.rpush(PIECES, row)
        assert await replicas[0].plane.running("s", 0) is None


@pytest.mark.parametrize("key", [LEASE, PIECES, AT, NODES])
async def test_a_key_of_the_wrong_kind_disturbs_nobody_else_and_no_answer(replicas, client, key):
    teller, _ = replicas
    await work(teller, "x")
    client.delete(key)
    client.geoadd(key, (1.0, 1.0, "garbage")) if key != NODES else client.set(key, "garbage")
    await teller.plane.push("s", "a", "y")
    await teller.plane.publish("s", Stored(entry("s", index=3)))
    await teller.plane.publish("s", Removed())
    await teller.plane.listen("s")
    assert [piece.text for piece in teller.pieces()] == ["x", "x", "x", "y"]
    assert teller.events()[-1] == Removed()
    assert await teller.plane.running("s", 2) is not None
    await teller.plane.finish("s", "a")
    await teller.plane.check()


@pytest.mark.parametrize("at", ["garbage", "-5", "1e300", "nan", str(1 << 60), ""])
async def test_a_position_that_is_none_is_not_believed(replicas, client, at):
    await work(replicas[0], "x")
    client.set(AT, at)
    await replicas[0].plane.push("s", "a", "y")
    assert replicas[0].pieces()[-1] == Piece("a", 2 * STEP + 4, "y")


async def test_a_node_that_is_dead_is_forgotten_and_one_that_was_forgotten_hears_that_it_missed_something(redis_server):
    with redis_server.client() as client:
        async with several(redis_server.url, 2, Timing(pulse=0.3)) as (replica, other):
            client.zadd(NODES, {"dead": 5})
            client.zrem(NODES, other.plane._node)
            await replica.plane.publish("s", Removed())
            await other.until(lambda: ("s", None) in other.behind)
            await eventually(lambda: client.zscore(NODES, "dead") is None)
            assert replica.behind == []
            assert client.zcard(NODES) == 2


async def test_scripts_that_redis_has_forgotten_are_sent_again(replicas, client):
    await work(replicas[0], "x")
    client.script_flush()
    await replicas[0].plane.push("s", "a", "y")
    await replicas[1].plane.publish("s", Stored(entry("s", index=3)))
    await asyncio.gather(*[replicas[0].plane.push("s", "a", str(n)) for n in range(20)])
    await all_heard(*replicas)
    assert [piece.text for piece in replicas[1].pieces()] == ["x", "x", "x", "y", *map(str, range(20))]
    assert replicas[1].pieces() == replicas[0].pieces()


async def test_silent_loss_is_found_by_the_beacon(redis_server, client):
    async with several(redis_server.url, 2, Timing(beacon=0.2)) as (teller, other):
        client.zrem(NODES, other.plane._node)
        await work(teller, "x")
        await other.until(lambda: ("s", 2 * STEP + 3) in other.behind)
        assert other.events() == []
        assert not [seq for _, seq in teller.behind if seq is not None]


# -- opening and closing -----------------------------------------------------------------------------------------------


async def test_without_redis_a_start_fails_with_what_to_do():
    url = f"redis://user:{CANARY}@127.0.0.1:{free_port()}/0?socket_keepalive=yes"
    for opened in (
        RedisBackplane(url, KEYRING, timing=Timing(opening=0.3)),
        RedisQuotas(url, KEYRING, {}, {}, timing=Timing(opening=0.3)),
    ):
        with pytest.raises(
            BackplaneDown, match=r"redis://127.0.0.1:\d+/0 .*failed.*[^.]\. Start Redis .*REDIS_URL"
        ) as caught:
            await opened.__aenter__()
        assert CANARY not in str(caught.value)


async def test_a_wrong_password_is_said_at_the_start(redis_server, client):
    client.acl_setuser("joe", enabled=True, passwords=["+right"], keys=["*"], channels=["*"], categories=["+@all"])
    base = redis_server.url.removeprefix("redis://")
    with pytest.raises(BackplaneDown, match=r"invalid username-password"):
        await RedisBackplane(f"redis://joe:wrong@{base}", KEYRING, timing=Timing(opening=0.3)).__aenter__()
    async with RedisBackplane(f"redis://joe:right@{base}", KEYRING) as plane:
        await plane.check()
    client.acl_deluser("joe")


async def test_a_user_who_may_not_subscribe_is_told_so(redis_server, client):
    client.acl_setuser("joe", enabled=True, passwords=["+right"], keys=["*"], reset_channels=True, categories=["+@all"])
    url = f"redis://joe:right@{redis_server.url.removeprefix('redis://')}"
    with pytest.raises(BackplaneDown, match=r"delivers no messages: .*chatbox:"):
        await RedisBackplane(url, KEYRING, timing=Timing(opening=0.5)).__aenter__()
    client.acl_deluser("joe")


async def test_a_user_who_may_do_what_the_documents_say_may_do_enough(redis_server, client):
    page = (Path(__file__).parents[2] / "docs" / "design" / "replicas.md").read_text()
    named = re.search(r"the commands\n(.*?)\n\n", page, re.DOTALL)[1]
    commands = [f"+{command}" for command in re.findall(r"`([a-z|]+)`", named)]
    client.acl_log_reset()
    client.acl_setuser(
        "joe", enabled=True, passwords=["+right"], keys=["chatbox:1:*"], channels=["chatbox:1:*"], commands=commands,
        reset_channels=True,
    )  # fmt: skip
    url = f"redis://joe:right@{redis_server.url.removeprefix('redis://')}"
    windows, pools = {"frames": Window(1, 60.0)}, {"sockets": Pool(3, linger=60.0), "listeners": Pool()}
    async with several(url, timing=Timing(lease=0.6, pulse=0.2, beacon=0.1)) as replicas:
        await work(replicas[0], "x")
        client.delete(PIECES)
        await eventually(lambda: client.exists(PIECES))
        await replicas[0].plane.finish("s", "a")
        await replicas[0].plane.publish("s", Removed())
        await all_heard(*replicas)
        async with RedisQuotas(url, KEYRING, windows, pools) as quotas:
            for pool in pools:
                await quotas.enter(pool, "ann", "one")
                await quotas.leave(pool, "ann", "one")
            assert await quotas.members("sockets", "ann") == {"one"}
            assert [await quotas.hit("frames", "ann") > 0 for _ in range(2)] == [False, True]
        for replica in replicas:
            await replica.plane.check()
    refused = [(entry["context"], entry["object"]) for entry in client.acl_log()]
    client.acl_deluser("joe")
    assert set(refused) <= {("toplevel", "client|setinfo")}


@pytest.mark.parametrize(
    "url", ["http://x", "redis://host:port", "redis://host?wrong=1", "redis://host?socket_timeout=x"]
)
def test_an_address_that_cannot_be_used_is_refused(url):
    with pytest.raises(ConfigError, match=r"^REDIS_URL: "):
        RedisBackplane(url, KEYRING)


async def test_options_in_the_address_do_not_change_how_replies_are_read(redis_server):
    url = f"{redis_server.url}?protocol=3&decode_responses=yes&socket_timeout=0.1"
    async with several(url) as replicas:
        await work(replicas[0], "x")
        await all_heard(*replicas)
        await asyncio.sleep(0.3)
        assert len(replicas[1].pieces()) == 3
        await replicas[1].plane.check()


async def test_a_start_that_is_cancelled_leaves_nothing_running():
    plane = RedisBackplane(f"redis://127.0.0.1:{free_port()}", KEYRING)
    before = asyncio.all_tasks()
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(plane.__aenter__(), 0.1)
    assert asyncio.all_tasks() == before


async def test_nothing_is_left_running_after_the_end(redis_server):
    before = asyncio.all_tasks()
    async with several(redis_server.url) as replicas:
        await work(replicas[0])
    assert asyncio.all_tasks() == before
    with pytest.raises(Fenced):
        await replicas[0].plane.push("s", "a", "late")


def test_a_redis_is_used_when_one_is_named():
    memory = open_backplane("", KEYRING, {}, {})
    assert [type(part) for part in memory] == [MemoryBackplane, MemoryQuotas]
    named = open_backplane("redis://redis:6379/0", KEYRING, {}, {})
    assert [type(part) for part in named] == [RedisBackplane, RedisQuotas]


async def test_a_receiver_that_fails_does_not_deafen_its_replica(redis_server, replicas):
    failing = replicas[1]
    heard = []

    def receive(session_id, event):
        heard.append(event)
        raise RuntimeError("a receiver's own mistake")

    failing.plane.connect(receive)
    await replicas[0].plane.publish("s", Signal("1"))
    await replicas[0].plane.publish("s", Signal("2"))
    await eventually(lambda: heard == [Signal("1"), Signal("2")])


async def test_an_answer_whose_stop_cuts_a_push_short_is_told_whole_everywhere(replicas):
    """A piece that Redis has is heard here too, also when the one who pushed it does not wait any more."""
    await work(replicas[0], "x")
    pushing = asyncio.create_task(replicas[0].plane.push("s", "a", "y"))
    await asyncio.sleep(0)
    pushing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await pushing
    await all_heard(*replicas)
    assert replicas[0].pieces() == replicas[1].pieces()
    assert (await replicas[1].plane.running("s", 2)) == Running(Turn("a", 2, 1), tuple(replicas[0].pieces()))


async def test_a_lease_is_sure_only_when_redis_has_had_its_data_for_a_leases_life(redis_server, client):
    client.flushall()
    async with several(redis_server.url, 1, Timing(lease=1.0)) as (replica,):
        assert await replica.plane.acquire("s", "a") is Grant.ALONE
        await replica.plane.finish("s", "a")
        await asyncio.sleep(1.1)
        assert await replica.plane.acquire("s", "b") is Grant.SURE
        assert Behind() not in replica.events()
