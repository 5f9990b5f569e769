"""The client over lines that are cut, swallow or stall, and servers that go away: nothing is lost or comes twice."""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chatbox.app import App, open_parts
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.client import Ack, Answer, ChatClient, Connected, Disconnected, Loading, Message, Notice, Piece, Reset
from chatbox.client.outgoing import AGAIN
from chatbox.config import Config
from chatbox.connection import Connection
from chatbox.errors import Conflict, InvalidFormat
from chatbox.protocol import Close
from chatbox.session import STEP, Kind
from chatbox.storage.memory import MemoryStorage
from tests.client.watching import Seen, chatting
from tests.live import DEVELOPMENT, ECHO, running, token
from tests.processes import serving
from tests.proxy import TO_CLIENT, TO_SERVER, Proxy

UNHURRIED = {"RATE_LIMIT": "100000", "USER_MAX_ANSWERS": "1000"}


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path, UNHURRIED) as server:
        yield server


@pytest.fixture
async def proxy(live):
    async with Proxy(live.port) as between:
        yield between


async def stored(live, session_id):
    """The whole log of a session."""
    return await live.app.storage.read(session_id, limit=10_000)


def asked(live):
    """How often the model was asked."""
    return live.app.metrics.llm_requests_total.labels("echo")._value.get()


def hint(live, wait=0):
    """Ask every client to come back after so many ms."""
    for socket in live.app.connections._all():
        socket.hint("drain", retry_after=str(wait))


async def once(live, seen, turns):
    """So many turns have been had, and each thing was told once: what is stored, in its order."""
    await seen.until(Answer, turns)
    log = await stored(live, seen.of(Connected)[0].session_id)
    said = [(entry.seq, entry.message_id, entry.content) for entry in log if entry.kind is Kind.USER_MESSAGE]
    answers = [(entry.seq, entry.message_id, entry.content) for entry in log if entry.kind is Kind.AI_RESPONSE]
    assert [(event.seq, event.message_id, event.content) for event in seen.of(Message)] == said
    assert [(event.seq, event.message_id, event.content) for event in seen.of(Answer)] == answers
    for _, answer_id, content in answers:
        assert "".join(event.text for event in seen.of(Piece) if event.message_id == answer_id) in ("", content)
    assert len(seen.of(Loading)) == len({event.message_id for event in seen.of(Loading)})
    assert not seen.of(Reset)


# -- lines that are cut ------------------------------------------------------------------------------------------------

TEXT = "Grüße! 👋"


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize(("gentle", "step"), [(True, 1), (False, 7)], ids=["closed", "reset"])
async def test_an_answer_cut_at_every_byte_is_the_same_answer(live, gentle, step):
    async with Proxy(live.port) as proxy, chatting(live, user="user0000", port=proxy.port) as (chat, seen):
        await chat.ready()
        start = proxy.carried[TO_CLIENT]
        await chat.say(TEXT)
        await once(live, seen, 1)
        end = proxy.carried[TO_CLIENT]
    assert end > start + 700
    places, before = range(start, end + 1, step), asked(live)
    remaining = iter(places)
    async with asyncio.TaskGroup() as group:
        for _ in range(40):
            group.create_task(cut_at_each(live, remaining, gentle))
    assert asked(live) - before == len(places)


async def cut_at_each(live, places, gentle):
    async with Proxy(live.port) as proxy:
        proxy.gentle = gentle
        for place in places:
            proxy.cut_after = [place]
            async with chatting(live, user=f"user{place:04}", port=proxy.port) as (chat, seen):
                ack = await chat.say(TEXT)
                await once(live, seen, 1)
                assert ack == Ack(seen.of(Message)[0].message_id, STEP)
                assert seen.of(Answer)[0].content == TEXT


@pytest.mark.parametrize("lost", [TO_CLIENT, TO_SERVER], ids=["its ack", "it"])
async def test_a_message_is_stored_and_answered_once_when_the_line_lost(live, proxy, lost):
    async with chatting(live, port=proxy.port) as (chat, seen):
        connected = await chat.ready()
        proxy.dropping = {lost}
        saying = asyncio.create_task(chat.say("only once"))
        await asyncio.sleep(0)
        while lost is TO_CLIENT and len(await stored(live, connected.session_id)) < 3:
            await asyncio.sleep(0.01)
        proxy.dropping = set()
        proxy.cut()
        ack = await saying
        await once(live, seen, 1)
        log = await stored(live, connected.session_id)
        assert [entry.kind for entry in log] == [Kind.USER_MESSAGE, Kind.TURN, Kind.AI_RESPONSE]
        assert (log[0].message_id, log[0].seq) == (ack.message_id, ack.seq)
        assert asked(live) == 1


async def test_what_is_said_while_offline_keeps_its_order_however_the_line_is_cut_afterwards(live, proxy):
    proxy.refusing = True
    async with chatting(live, port=proxy.port) as (chat, seen):
        saying = [asyncio.create_task(chat.say(f"message {number}")) for number in range(20)]
        await seen.until(Disconnected)
        proxy.cut_after = [100 * number for number in range(3, 20)]
        proxy.refusing = False
        acks = await asyncio.gather(*saying)
        assert sorted(acks, key=lambda ack: ack.seq) == acks
        assert [message.content for message in seen.of(Message)] == [f"message {number}" for number in range(20)]
        assert proxy.cuts > 10


async def test_the_same_id_with_other_words_is_a_conflict_and_nothing_is_stored(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen):
        connected = await chat.ready()
        proxy.refusing = True
        proxy.cut()
        first = asyncio.create_task(chat.say("one", message_id="m"))
        await asyncio.sleep(0)
        with pytest.raises(Conflict):
            await chat.say("another", message_id="m")
        proxy.refusing = False
        assert await chat.say(" one ", message_id="m") == await first
        with pytest.raises(Conflict):
            await chat.say("another", message_id="m")
        await once(live, seen, 1)
        assert len(await stored(live, connected.session_id)) == 3


async def test_a_refresh_amid_an_answer_shows_it_from_its_first_character(live):
    words = "/slow 50 " + "".join(f"word{number} " for number in range(40))
    async with chatting(live) as (chat, seen):
        await chat.say(words)
        await seen.until(Piece)
        await chat.say("and this meanwhile")
    async with chatting(live, history=True) as (_, again):
        await again.until(Piece)
        first, second = again.of(Message)
        assert (first.content, second.content) == (words.strip(), "and this meanwhile")
        answer = await again.until(Answer)
        shown = "".join(event.text for event in again.of(Piece) if event.message_id == answer.message_id)
        assert shown == answer.content == words.removeprefix("/slow 50 ").strip()
        await once(live, again, 2)


async def test_an_old_tab_that_lingers_sees_every_later_turn(live):
    async with chatting(live) as (old, lingering), chatting(live) as (chat, seen):
        await old.ready()
        for turn in range(1, 4):
            await chat.say(f"turn {turn}")
            await seen.until(Answer, turn)
            await once(live, lingering, turn)


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_five_hundred_clients_come_back_at_once_and_have_everything(tmp_path):
    async with serving(tmp_path, **UNHURRIED, MAX_CONNECTIONS="2000") as service, Proxy(service.port) as proxy:
        async with asyncio.TaskGroup() as group:
            crowd = [ChatClient(proxy.base(service.http), token=token(f"user{number}")) for number in range(500)]
            back, told = asyncio.Event(), []

            async def live_through_it(chat):
                async with chat:
                    seen = Seen(chat)
                    await chat.say("before")
                    await seen.until(Answer, patience=120)
                    told.append(1)
                    await back.wait()
                    await chat.say("after")
                    await seen.until(Answer, 2, patience=120)
                    assert [message.content for message in seen.of(Message)] == ["before", "after"]
                    assert [answer.content for answer in seen.of(Answer)] == ["before", "after"]
                    assert seen.of(Connected)[1].resumed
                    seen.reading.cancel()

            for chat in crowd:
                group.create_task(live_through_it(chat))
            while len(told) < 500:
                await asyncio.sleep(0.05)
            proxy.cut()
            back.set()
        assert await service.answers("/healthz") == 200


# -- servers that go away ----------------------------------------------------------------------------------------------


async def test_a_client_that_moves_amid_an_answer_shows_no_trace_of_it(live, proxy, monkeypatch):
    ends, close = [], Connection.close
    monkeypatch.setattr(Connection, "close", lambda old, code, why: (ends.append(code), close(old, code, why)))
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.say("/slow 20 " + "word " * 60)
        for move in range(2, 7):
            await seen.until(Piece, len(seen.of(Piece)) + 3)
            hint(live)
            await seen.until(Connected, move)
        await once(live, seen, 1)
        assert not seen.of(Disconnected)
        assert proxy.accepted == 6
        assert seen.of(Answer)[0].content == ("word " * 60).strip()
        assert ends == [Close.REPLACED] * 5


@asynccontextmanager
async def two(folder):
    """Two replicas of one process, and a proxy that leads to the first of them."""
    config = Config.load(DEVELOPMENT | ECHO | UNHURRIED | {"CHATBOX_DATA_DIR": str(folder)})
    bus, parts = MemoryBus(), open_parts(config)._replace(cells=MemoryStorage())
    apps = [App(config, parts._replace(backplane=MemoryBackplane(bus))) for _ in range(2)]
    async with running(folder, app=apps[0]) as one, running(folder, app=apps[1]) as other, Proxy(one.port) as proxy:
        yield one, other, proxy


async def test_a_client_goes_to_another_replica_before_its_own_has_drained_and_shows_no_trace_of_it(tmp_path):
    async with two(tmp_path) as (one, other, proxy), chatting(one, port=proxy.port) as (chat, seen):
        await chat.say("/slow 20 " + "word " * 100)
        await seen.until(Piece)
        proxy.targets = [other.port]
        draining = asyncio.create_task(one.app.drain(20.0, window=1.0))
        await seen.until(Connected, 2)
        await chat.say("meanwhile")
        await draining
        assert len(one.app.connections) == 0
        await once(other, seen, 2)
        assert not seen.of(Disconnected)
        assert [answer.content for answer in seen.of(Answer)] == [("word " * 100).strip(), "meanwhile"]


async def test_what_is_sent_while_the_client_moves_is_stored_once_and_in_order(live, proxy):
    proxy.delay = 0.005
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.ready()
        moving = asyncio.create_task(keep_moving(live))
        acks = [await chat.say(f"message {number}") for number in range(40)]
        moving.cancel()
        assert [message.content for message in seen.of(Message)] == [f"message {number}" for number in range(40)]
        assert [message.seq for message in seen.of(Message)] == [ack.seq for ack in acks]
        assert len(seen.of(Connected)) > 5
        assert not seen.of(Disconnected)


async def keep_moving(live):
    while True:
        hint(live)
        await asyncio.sleep(0.03)


@pytest.mark.slow
async def test_a_server_that_restarts_is_left_at_its_end_and_found_again_when_it_asked_for(tmp_path):
    async with serving(tmp_path) as service, ChatClient(service.http, token=token()) as chat:
        seen = Seen(chat)
        await chat.say("/slow 100 " + "word " * 30)
        await seen.until(Piece)
        ending = asyncio.create_task(service.signal(signal.SIGTERM))
        await seen.until(Notice)
        saying = asyncio.create_task(chat.say("while it drains"))
        gone = await seen.until(Disconnected, patience=60)
        assert (await seen.until(Answer)).content == ("word " * 30).strip()
        assert gone.reason == "the server is restarting"
        assert await ending == 0
        await service.start()
        assert (await seen.until(Connected, 2, patience=60)).resumed
        await saying
        assert (await seen.until(Answer, 2)).content == "while it drains"
        assert [message.content for message in seen.of(Message)][1:] == ["while it drains"]
        seen.reading.cancel()


async def test_a_server_that_is_full_keeps_its_clients_until_it_closes_and_then_they_wait_as_asked(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.ready()
        live.app.connections.draining = True
        hint(live)
        while proxy.accepted < 2:
            await asyncio.sleep(0.01)
        await chat.say("still here")
        await once(live, seen, 1)
        assert not seen.of(Disconnected)
        live.app.connections.draining = False
        for socket in live.app.connections._all():
            socket.close(Close.DRAINING, "")
        assert 3.0 < (await seen.until(Disconnected)).retry_in < 6.0
        assert proxy.accepted == 2


async def test_a_hint_is_kept_to_when_the_server_closes_before(live):
    async with chatting(live) as (chat, seen):
        await chat.ready()
        hint(live, 4000)
        await seen.until(Notice)
        for socket in live.app.connections._all():
            socket.close(Close.DRAINING, "")
        assert 3.0 < (await seen.until(Disconnected)).retry_in <= 4.5


async def test_a_move_that_gets_no_answer_is_given_up_and_the_old_line_stays_in_use(live, proxy, monkeypatch):
    monkeypatch.setattr("chatbox.client.client.MOVE", 0.3)
    async with asyncio.timeout(60), silent() as nobody, chatting(live, port=proxy.port) as (chat, seen):
        await chat.ready()
        proxy.targets = [nobody]
        hint(live)
        while proxy.accepted < 3:
            await asyncio.sleep(0.01)
        await chat.say("still here")
        await once(live, seen, 1)
        proxy.targets = [live.port]
        await seen.until(Connected, 2)
        assert not seen.of(Disconnected)


@asynccontextmanager
async def silent():
    """The port of a server that takes connections and says nothing."""

    async def listen(reader, writer):
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def test_a_move_that_the_server_took_for_done_and_the_client_never_heard_of_ends_nothing(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.ready()
        proxy.refusing = True
        hint(live)
        await seen.until(Notice)
        await asyncio.sleep(0.1)
        live.app.connections._all()[0].close(Close.REPLACED, "")
        await seen.until(Disconnected)
        proxy.refusing = False
        await seen.until(Connected, 2)
        await chat.say("still here")
        await once(live, seen, 1)


async def test_a_client_that_was_too_slow_comes_back_at_once(live):
    async with chatting(live) as (chat, seen):
        await chat.ready()
        for socket in live.app.connections._all():
            socket.close(Close.TOO_SLOW, "")
        assert (await seen.until(Disconnected)).retry_in == 0.0
        assert (await seen.until(Connected, 2)).resumed


async def test_a_token_that_can_not_be_renewed_just_now_is_asked_for_again(live):
    given = iter([token("ann"), OSError("the app is down"), TimeoutError(), token("ann", lifetime=2000)])

    async def fresh():
        found = next(given)
        if isinstance(found, Exception):
            raise found
        return found

    async with chatting(live, token=fresh) as (chat, seen):
        await chat.ready()
        live.app.connections._all()[0].close(Close.TOKEN, "")
        await seen.until(Connected, 2)


# -- servers that do not keep to the contract --------------------------------------------------------------------------


class Puppet:
    """A server of scripted sockets: ``script`` gets each one, with what it asked for."""

    def __init__(self, script):
        self.script, self.asked = script, []

    @asynccontextmanager
    async def running(self):
        app = web.Application()
        app.router.add_get("/chatbox/ws", self.socket)
        async with TestServer(app) as server, ChatClient(str(server.make_url("/chatbox")), token="any") as chat:
            seen = Seen(chat)
            yield chat, seen
            seen.reading.cancel()

    async def socket(self, request):
        self.line = web.WebSocketResponse()
        await self.line.prepare(request)
        self.asked.append(dict(request.query))
        await self.script(self, len(self.asked))
        return self.line

    async def say(self, kind, **fields):
        with_session = {"type": kind, "session_id": "s", "epoch": "e", **fields}
        await self.line.send_str(json.dumps(with_session))

    async def greet(self, seq, resumed="false"):
        await self.say("connection_status", user_id="ann", seq=seq, metadata={"resumed": resumed})

    async def heard(self):
        return json.loads((await self.line.receive()).data)


async def test_a_gap_in_the_positions_is_mended_by_a_resume_at_once():
    async def script(server, number):
        if number == 1:
            await server.greet(STEP)
            await server.say("user_message", message_id="a", content="a", seq=2 * STEP, prev=STEP)
            await server.say("user_message", message_id="c", content="c", seq=4 * STEP, prev=3 * STEP)
        else:
            await server.greet(2 * STEP, "true")
            await server.say("user_message", message_id="b", content="b", seq=3 * STEP, prev=2 * STEP)
            await server.say("user_message", message_id="c", content="c", seq=4 * STEP, prev=3 * STEP)
        await server.line.receive()

    server = Puppet(script)
    async with server.running() as (chat, seen):
        await seen.until(Message, 3)
        assert [message.content for message in seen.of(Message)] == ["a", "b", "c"]
        assert server.asked[1] | {"client": "any"} == {
            "client": "any", "session_id": "s", "epoch": "e", "last_seq": str(2 * STEP),
        }  # fmt: skip
        assert server.asked[0]["client"] == server.asked[1]["client"]
        assert seen.of(Disconnected)[0].retry_in == 0.0
        assert chat.position.seq == 4 * STEP


async def test_what_was_not_acknowledged_is_sent_again_first_thing_on_the_next_line():
    heard = []

    async def script(server, number):
        await server.greet(0, "false" if number == 1 else "true")
        heard.append(await server.heard())
        if number == 3:
            await server.say("ack", message_id=heard[0]["message_id"], seq=STEP, prev=0)
            await server.line.receive()
        await server.line.close(code=Close.INTERNAL)

    async with asyncio.timeout(AGAIN), Puppet(script).running() as (chat, seen):
        ack = await chat.say("hello")
        assert heard == [heard[0]] * 3
        assert ack == Ack(heard[0]["message_id"], STEP)
        assert [message.content for message in seen.of(Message)] == ["hello"]


async def test_what_a_server_drops_without_a_word_is_sent_again(monkeypatch):
    monkeypatch.setattr("chatbox.client.outgoing.AGAIN", 0.2)
    monkeypatch.setattr("chatbox.client.client.LOOK", 0.1)
    heard = []

    async def script(server, _):
        await server.greet(0)
        heard.extend([await server.heard(), await server.heard()])
        await server.say("ack", message_id=heard[1]["message_id"], seq=STEP, prev=0)
        await server.line.receive()

    async with Puppet(script).running() as (chat, seen):
        ack = await chat.say("hello")
        assert heard[0] == heard[1]
        assert ack == Ack(heard[0]["message_id"], STEP)
        assert [message.content for message in seen.of(Message)] == ["hello"]
        assert not seen.of(Disconnected)


async def test_a_server_that_no_route_leads_to_for_a_while_is_tried_again(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen), TestServer(web.Application()) as elsewhere:
        await chat.ready()
        proxy.targets = [elsewhere.port]
        proxy.cut()
        await seen.until(Disconnected, 2)
        proxy.targets = [live.port]
        proxy.cut()
        assert (await seen.until(Connected, 2)).resumed


@pytest.mark.parametrize("words", ["half of \ud83d a pair", "x" * 10_001])
async def test_what_can_not_be_sent_is_refused_and_disturbs_nothing(live, words):
    async with chatting(live) as (chat, seen):
        with pytest.raises(InvalidFormat):
            await chat.say(words)
        with pytest.raises(InvalidFormat):
            await chat.say("an id that is too long", message_id="m" * 65)
        await chat.say(" said\0 in the form that is stored ", metadata={"page ": " /cart"}, message_id=" m ")
        await once(live, seen, 1)
        assert seen.of(Message)[0].metadata == {"page": "/cart"}


async def test_a_cut_right_behind_an_ack_loses_no_notice():
    async def script(server, number):
        if number == 1:
            await server.greet(0)
            command = await server.heard()
            await server.say("ack", message_id=command["message_id"], seq=STEP, prev=0)
            await server.line.close(code=Close.INTERNAL)
        else:
            await server.greet(STEP, "true")
            await server.line.receive()

    async with Puppet(script).running() as (chat, seen):
        await chat.select_model("other")
        await seen.until(Connected, 2)
        [notice] = seen.of(Notice)
        assert (notice.event, notice.metadata["model_id"], notice.seq) == ("model_changed", "other", STEP)
