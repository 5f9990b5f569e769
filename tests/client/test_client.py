"""The client against a real server: what an application sees when connections come and go."""

from __future__ import annotations

import asyncio
import random
import time

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from chatbox.client import (
    Answer,
    ChatClient,
    Connected,
    Disconnected,
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
from chatbox.errors import (
    Conflict,
    ConnectionLost,
    Ended,
    Forbidden,
    InvalidFormat,
    InvalidToken,
    MissingField,
    NotFound,
    Replaced,
)
from chatbox.fields import MAX_CONTENT
from chatbox.limits import SlidingWindow
from chatbox.protocol import Close
from chatbox.session import Change, Entry, Kind, Principal, Sender, Session, new_id, now_ms
from tests.client.watching import Seen, chatting
from tests.live import running, token
from tests.proxy import Proxy


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path) as server:
        yield server


@pytest.fixture
async def proxy(live):
    async with Proxy(live.port) as between:
        yield between


async def test_a_conversation(live):
    async with chatting(live) as (chat, seen):
        connected = await chat.ready()
        ack = await chat.say("one two three")
        answer = await seen.until(Answer)
        assert connected == seen.events[0]
        assert [model.id for model in connected.models] == ["echo"]
        message = seen.events[1]
        assert (message.content, message.own, message.seq) == ("one two three", True, ack.seq)
        assert isinstance(seen.events[2], Loading)
        assert "".join(piece.text for piece in seen.of(Piece)) == answer.content == "one two three"
        assert chat.position.seq == answer.seq


async def test_another_device_sees_the_same_and_who_types(live):
    async with chatting(live) as (chat, _), chatting(live) as (_, other):
        await other.until(Connected)
        await chat.ready()
        await chat.typing()
        assert await other.until(Typing) == Typing("user")
        await chat.say("hello")
        message = await other.until(Message)
        assert (message.content, message.own, message.sender) == ("hello", False, "user")
        assert (await other.until(Answer)).content == "hello"


async def test_stop_keeps_what_is_there_and_regenerate_answers_again(live):
    async with chatting(live) as (chat, seen):
        await chat.say("/slow 50 one two three four five six seven eight nine ten")
        await seen.until(Piece)
        await chat.stop()
        stopped = await seen.until(Answer)
        assert stopped.finish_reason == "stopped"
        await chat.regenerate()
        again = await seen.until(Answer, 2)
        assert again.replaces == stopped.message_id


async def test_commands_raise_what_the_server_refuses(live):
    async with chatting(live) as (chat, _):
        with pytest.raises(NotFound):
            await chat.select_model("no such model")
        with pytest.raises(Conflict):
            await chat.regenerate()
        with pytest.raises(MissingField):
            await chat.say("  ")
        with pytest.raises(InvalidFormat):
            await chat.say("x" * (MAX_CONTENT + 1))
        await chat.say("same", message_id="twice")
        with pytest.raises(Conflict):
            await chat.say("different", message_id="twice")


async def test_help_is_asked_for_and_cancelled_and_a_model_chosen(live):
    async with chatting(live) as (chat, _), chatting(live) as (_, other):
        await other.until(Connected)
        await chat.help("I am lost")
        await chat.help(email="ann@example.com")
        await chat.cancel_help()
        await chat.select_model("echo")
        await other.until(Notice)
        assert [notice.event for notice in other.of(Notice)] == ["model_changed"]
        assert [(news.state, news.content, news.email) for news in other.of(HelpNews)] == [
            ("asked", "I am lost", None),
            ("asked", "", "ann@example.com"),
            ("none", "", None),
        ]
        with pytest.raises(InvalidFormat, match="address"):
            await chat.help(email="nowhere")


async def test_staff_come_hand_on_and_go_as_the_client_is_told(live):
    bea, cy = (Principal(name.lower(), name, frozenset({"admin"}), 2e9) for name in ("Bea", "Cy"))
    takeovers = live.app.takeovers
    async with chatting(live) as (chat, seen), chatting(live) as (_, other):
        session_id = (await chat.ready()).session_id
        await other.until(Connected)
        await chat.say("Hello")
        await seen.until(Answer)
        await chat.help()
        await takeovers.join(bea, session_id, new_id())
        await takeovers.say(bea, session_id, new_id(), "Good morning.")
        await chat.say("Morning!")
        await takeovers.transfer(bea, cy.staff, session_id, new_id())
        session = await takeovers.leave(cy, session_id, new_id())
        for one in (seen, other):
            await one.until(StaffLeft)
            assert [(event.name, event.from_name) for event in one.of(StaffJoined)] == [("Bea", None), ("Cy", "Bea")]
            words = next(message for message in one.of(Message) if message.sender == "admin")
            assert (words.content, words.metadata["admin_name"]) == ("Good morning.", "Bea")
            assert (one.of(StaffLeft)[0].name, one.of(StaffLeft)[0].reason) == ("Cy", "left")
        assert session.assisting_admin_id is None
        with pytest.raises(Conflict):
            await takeovers.say(bea, session_id, new_id(), "Too late.")


async def test_who_comes_later_is_told_who_has_the_conversation(live):
    bea = Principal("bea", "Bea", frozenset({"admin"}), 2e9)
    async with chatting(live) as (chat, seen):
        session_id = (await chat.ready()).session_id
        await chat.say("Hello")
        await seen.until(Answer)
        await live.app.takeovers.join(bea, session_id, new_id())
        await seen.until(StaffJoined)
        with pytest.raises(Conflict):
            await chat.regenerate()
    async with chatting(live, session_id=session_id) as (chat, _):
        assert (await chat.ready()).staff_name == "Bea"
        assert (await chat.api.sessions()).sessions[0].assisting_admin_name == "Bea"


async def test_a_message_said_twice_under_one_id_is_one_message(live):
    async with chatting(live) as (chat, seen):
        first, second = await asyncio.gather(chat.say("hi", message_id="m"), chat.say("hi", message_id="m"))
        third = await chat.say("hi", message_id="m")
        assert first == second == third
        await seen.until(Answer)
        assert len(seen.of(Message)) == 1


async def test_a_rate_limit_is_waited_out_and_the_order_kept(tmp_path):
    async with running(tmp_path, {"RATE_LIMIT": "1"}) as live, chatting(live) as (chat, seen):
        live.app.quotas._windows["frames"] = SlidingWindow(1, 1.0)
        await asyncio.gather(*[chat.say(f"message {number}") for number in range(3)])
        assert [message.content for message in seen.of(Message)] == ["message 0", "message 1", "message 2"]
        assert seen.of(Problem)[0].code == "TOO_MANY_REQUESTS"


async def test_what_is_said_without_a_connection_is_sent_when_there_is_one(live, proxy):
    proxy.refusing = True
    async with chatting(live, port=proxy.port) as (chat, seen):
        sending = [asyncio.create_task(chat.say(text)) for text in ("first", "second")]
        await seen.until(Disconnected)
        proxy.refusing = False
        one, two = await asyncio.gather(*sending)
        assert one.seq < two.seq
        assert [message.content for message in seen.of(Message)] == ["first", "second"]


async def test_an_answer_cut_at_random_bytes_is_the_same_answer(live, proxy):
    chosen = random.Random(7)
    text = "".join(f"{number}. Item {number}\n" for number in range(1, 401))
    async with chatting(live, port=proxy.port, session_id="new") as (chat, seen):
        await chat.ready()
        for turn in range(1, 6):
            proxy.cut_after = [chosen.randint(300, 6000) for _ in range(3)]
            proxy.cut()
            await chat.say("/list 400")
            answer = await seen.until(Answer, turn)
            pieces = "".join(piece.text for piece in seen.of(Piece) if piece.message_id == answer.message_id)
            assert answer.content == text
            assert pieces in ("", text)
        assert len(seen.of(Message)) == 5
        assert len(seen.of(Answer)) == 5
        assert len(seen.of(Disconnected)) >= 10
        assert not seen.of(Reset)


async def test_a_lost_ack_makes_no_second_message(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen):
        connected = await chat.ready()
        proxy.cut_after = []
        proxy.hole = True
        sending = asyncio.create_task(chat.say("only once"))
        await asyncio.sleep(0.1)
        proxy.hole = False
        proxy.cut()
        await sending
        await seen.until(Answer)
        await chat.say("only once, again", message_id=sending.result().message_id + "2")
        status, body = await live.call("GET", f"/sessions/{connected.session_id}")
        said = [message["content"] for message in body["messages"] if message["sender"] == "user"]
        assert (status, said) == (200, ["only once", "only once, again"])
        assert [message.content for message in seen.of(Message)] == said


async def test_a_line_that_swallows_everything_is_given_up(live, proxy, monkeypatch):
    monkeypatch.setattr("chatbox.client.socket.HEARTBEAT", 0.2)
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.ready()
        proxy.hole = True
        await seen.until(Disconnected)
        proxy.hole = False
        await seen.until(Connected, 2)
        assert seen.of(Connected)[1].resumed


async def test_a_slow_line_changes_nothing(live, proxy):
    proxy.delay = 0.02
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.say("/list 50")
        assert (await seen.until(Answer)).content.endswith("50. Item 50\n")


async def test_history_comes_before_what_is_new(live):
    async with chatting(live) as (chat, seen):
        await chat.say("earlier")
        await seen.until(Answer)
    async with chatting(live, history=True) as (chat, seen):
        await chat.say("later")
        await seen.until(Answer, 2)
        assert [message.content for message in seen.of(Message)] == ["earlier", "later"]
        assert [answer.content for answer in seen.of(Answer)] == ["earlier", "later"]


async def test_a_client_too_far_behind_reads_what_it_missed(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen), chatting(live) as (other, _):
        await other.ready()
        await chat.ready()
        await chat.say("before")
        await seen.until(Answer)
        proxy.refusing = True
        proxy.cut()
        for number in range(520):
            await other.api.rename(chat.position.session_id, f"name {number}")
        proxy.refusing = False
        await seen.until(Connected, 2)
        assert not seen.of(Connected)[1].resumed
        await seen.until(Notice, 520)
        assert [notice.metadata["name"] for notice in seen.of(Notice)] == [f"name {n}" for n in range(520)]
        assert not seen.of(Reset)
        await chat.say("after")
        assert [message.content for message in seen.of(Message)] == ["before", "after"]


async def test_when_the_session_is_gone_the_client_says_so_and_goes_on_in_another(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.say("hello")
        await seen.until(Answer)
        proxy.refusing = True
        proxy.cut()
        first = chat.position.session_id
        async with ChatClient(live.http, token=token()) as other:
            await other.api.delete(first)
        proxy.refusing = False
        assert await seen.until(Reset) == Reset("session")
        assert chat.position.session_id != first


async def test_a_deleted_session_ends_the_client_in_peace(live):
    async with chatting(live) as (chat, seen):
        await chat.ready()
        await chat.say("hello")
        await chat.api.delete(chat.position.session_id)
        await asyncio.wait_for(seen.reading, 10)
        assert seen.of(Notice)[-1].event == "session_deleted"
        with pytest.raises(Ended):
            await chat.say("anyone?")


async def test_a_draining_server_is_left_and_found_again_when_it_is_back(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.say("hello")
        await seen.until(Answer)
        await live.app.drain(1.0)
        await seen.until(Disconnected)
        live.app.connections.draining = False
        await seen.until(Connected, 2, patience=60)
        assert seen.of(Connected)[1].resumed


async def test_on_a_drain_hint_the_client_moves_before_it_leaves(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.ready()
        for socket in live.app.connections._all():
            socket.hint("drain", retry_after="10")
        await seen.until(Connected, 2)
        assert proxy.accepted == 2
        assert not seen.of(Disconnected)
        await chat.say("still here")
        assert (await seen.until(Answer)).content == "still here"


async def test_a_move_that_fails_leaves_the_old_connection_in_use(live, proxy):
    async with chatting(live, port=proxy.port) as (chat, seen):
        await chat.ready()
        proxy.refusing = True
        for socket in live.app.connections._all():
            socket.hint("drain", retry_after="0")
        await asyncio.sleep(0.3)
        await chat.say("still here")
        assert (await seen.until(Answer)).content == "still here"
        assert not seen.of(Disconnected)


@pytest.mark.parametrize("code", [Close.TOO_SLOW, Close.INTERNAL, Close.DRAINING])
async def test_after_passing_trouble_the_client_comes_back_and_resumes(live, code):
    async with chatting(live) as (chat, seen):
        await chat.ready()
        for socket in live.app.connections._all():
            socket.close(code, "")
        assert (await seen.until(Connected, 2)).resumed


@pytest.mark.parametrize(("code", "error"), [(Close.FORBIDDEN, Forbidden), (Close.REPLACED, Replaced)])
async def test_when_it_is_not_let_in_any_more_the_client_stops_and_says_why(live, code, error):
    async with chatting(live) as (chat, seen):
        await chat.ready()
        for socket in live.app.connections._all():
            socket.close(code, "")
        with pytest.raises(error):
            await asyncio.wait_for(seen.reading, 10)
        with pytest.raises(error):
            await chat.say("hello?")


async def test_a_refused_token_is_raised_to_whoever_waits(live):
    async with chatting(live, token="nonsense") as (chat, seen):
        with pytest.raises(InvalidToken):
            await chat.ready()
        with pytest.raises(InvalidToken):
            await seen.reading
        with pytest.raises(InvalidToken):
            await chat.api.sessions()


async def test_a_refused_token_is_replaced_by_a_fresh_one(live):
    given = iter(["nonsense", token("ann", lifetime=1000), token("ann", lifetime=2000)])

    async def fresh():
        return next(given)

    async with chatting(live, token=fresh) as (chat, seen):
        assert (await chat.api.sessions()).sessions == []
        assert (await chat.ready()).user_id == "ann"
        for socket in live.app.connections._all():
            socket.close(Close.TOKEN, "")
        await seen.until(Connected, 2)


async def test_a_token_is_renewed_before_it_expires_without_a_new_connection(live, proxy):
    asked = []

    async def fresh():
        asked.append(time.time())
        return token("ann", lifetime=63.0 if len(asked) == 1 else 3600.0)

    async with chatting(live, port=proxy.port, token=fresh) as (chat, seen):
        await chat.ready()
        while not any(notice.event == "auth_ok" for notice in seen.of(Notice)):
            await seen.until(Notice, len(seen.of(Notice)) + 1)
        assert len(asked) == 2
        assert proxy.accepted == 1


async def test_an_error_of_the_token_source_is_not_hidden(live):
    async def broken():
        raise ValueError("a mistake in the app")

    async with chatting(live, token=broken) as (chat, seen):
        with pytest.raises(ValueError, match="mistake"):
            await chat.ready()
        with pytest.raises(ValueError, match="mistake"):
            await seen.reading


async def test_an_address_without_chatbox_is_told(live):
    async with ChatClient(f"http://127.0.0.1:{live.port}/elsewhere", token=token()) as chat:
        with pytest.raises(Forbidden, match="no Chatbox at this address"):
            await chat.ready()


async def test_a_client_that_is_closed_ends_its_events_and_refuses_commands(live):
    async with chatting(live) as (chat, seen):
        await chat.ready()
        await chat.say("hello")
    with pytest.raises(Ended):
        await chat.say("hello?")
    await asyncio.wait_for(asyncio.gather(seen.reading, return_exceptions=True), 5)


async def test_a_reader_that_does_not_read_holds_the_client_back_and_loses_nothing(live, monkeypatch):
    monkeypatch.setattr("chatbox.client.inbox.LIMIT", 10)
    async with ChatClient(live.http, token=token()) as chat, chatting(live) as (other, _):
        chat._inbox._limit = 10
        await chat.ready()
        await other.ready()
        for number in range(50):
            await chat.api.rename(chat.position.session_id, f"name {number}")
        await asyncio.sleep(0.2)
        assert len(chat._inbox) <= 12
        names = []
        async with asyncio.timeout(10):
            async for event in chat.events():
                if isinstance(event, Notice):
                    names.append(event.metadata["name"])
                    if len(names) == 50:
                        break
        assert names == [f"name {number}" for number in range(50)]


async def test_sessions_by_http(live):
    async with chatting(live) as (chat, seen):
        await chat.say("What is the capital of France?")
        await seen.until(Answer)
        api, session_id = chat.api, chat.position.session_id
        assert (await api.rename(session_id, "Capitals")).name == "Capitals"
        assert [session.id async for session in api.all_sessions(q="capi")] == [session_id]
        assert [message.frame.type for message in (await api.conversation(session_id)).messages] == [
            "user_message", "ai_response", "notification",
        ]  # fmt: skip
        page = await api.conversation(session_id)
        assert [message.sender for message in page.messages] == ["user", "ai", "system"]
        assert await api.share(session_id) == await api.share(session_id)
        await api.unshare(session_id)
        assert b"capital of France" in await api.export(session_id, "markdown")
        assert b"message_id" in await api.export(session_id)
        await api.end(session_id)
        assert not (await api.sessions()).sessions[0].is_active
        with pytest.raises(NotFound):
            await api.conversation("nothing")


async def test_long_lists_and_long_conversations_come_page_by_page(live):
    async with chatting(live) as (chat, _):
        await chat.ready()
        await chat.say("hello")
        for number in range(450):
            await chat.api.rename(chat.position.session_id, f"name {number}")
        everything = await chat.api.messages(chat.position.session_id)
        assert len([message for message in everything if message.sender == "system"]) == 450
        assert [message.seq for message in everything] == sorted({message.seq for message in everything})


async def test_a_hundred_clients_come_back_after_the_line_was_cut(live, proxy):
    async with asyncio.TaskGroup() as group:
        chats = [
            ChatClient(live.http.replace(str(live.port), str(proxy.port)), token=token(f"user{n}")) for n in range(60)
        ]

        async def talk(chat):
            async with chat:
                seen = Seen(chat)
                await chat.say("hello")
                await seen.until(Answer)
                await chat.say("again")
                await seen.until(Answer, 2, patience=60)
                assert [message.content for message in seen.of(Message)] == ["hello", "again"]

        tasks = [group.create_task(talk(chat)) for chat in chats]
        for _ in range(5):
            await asyncio.sleep(0.2)
            proxy.cut()
        await asyncio.gather(*tasks)


async def test_a_list_of_many_sessions_comes_page_by_page(live):
    now = now_ms()
    for number in range(120):
        session = Session(id=new_id(), user_id="ann", epoch="e", start_time=now, last_activity=now + number)
        await live.app.storage.create(session)
        entry = Entry(
            session_id=session.id, kind=Kind.NOTIFICATION, message_id="m", sender=Sender.SYSTEM, timestamp=now
        )
        await live.app.storage.append(entry, Change(name=f"session {number}"))
    async with ChatClient(live.http, token=token(), session_id="new") as chat:
        names = [session.name async for session in chat.api.all_sessions()]
    assert sorted(names) == sorted(f"session {number}" for number in range(120))


async def test_a_server_that_talks_nonsense_is_tried_again(live):
    async def nonsense(request):
        line = web.WebSocketResponse()
        await line.prepare(request)
        await line.send_str(next(answers))
        await line.receive()
        return line

    async def unexpected(_request):
        return web.json_response({"sessions": 5})

    answers = iter(["no frame", '{"type":"error","error":{"code":"DATABASE_ERROR","message":"try again"}}'])
    app = web.Application()
    app.router.add_get("/chatbox/ws", nonsense)
    app.router.add_get("/chatbox/sessions", unexpected)
    async with TestServer(app) as server, ChatClient(str(server.make_url("/chatbox")), token="any") as chat:
        seen = Seen(chat)
        await seen.until(Disconnected, 2)
        first, second = seen.of(Disconnected)[:2]
        assert "no frame" in first.reason
        assert second.reason == "try again"
        with pytest.raises(ConnectionLost, match="not what was expected"):
            await chat.api.sessions()
        await server.close()
        with pytest.raises(ConnectionLost, match="no answer"):
            await chat.api.sessions()
        seen.reading.cancel()


async def test_an_app_may_share_one_http_session_among_clients(live):
    async with aiohttp.ClientSession() as http:
        async with ChatClient(live.http, token=token(), http=http) as chat:
            await chat.ready()
        assert not http.closed
