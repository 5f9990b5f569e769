"""The staff socket on a real server."""

import asyncio
import json
import time

import pytest

from chatbox import outbox
from chatbox.access import Block
from chatbox.lines import SocketLine
from chatbox.protocol import Close
from chatbox.session import Principal, now_ms
from chatbox.staff import socket
from tests.live import running, token
from tests.rawsocket import CLOSE, TEXT, frame, upgraded
from tests.staff.desks import desk, refused


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path) as live:
        yield live


async def asked(ann, text="Hello"):
    """A question of a user that has been answered; the session's id."""
    status = await ann.next("connection_status")
    await ann.say("user_message", content=text, message_id="q")
    await ann.answer()
    return status["session_id"]


async def test_the_first_frame_says_who_is_there_and_who_waits(live):
    async with desk(live, "cy"), desk(live) as bea:
        first = await bea.hear("staff_status")
        assert bea.frames[0] is first
        assert (first["user_id"], first["metadata"]) == ("bea", {"name": "Bea", "role": "chat_admin"})
        assert first["staff"] == [{"id": "bea", "name": "Bea"}, {"id": "cy", "name": "Cy"}]
        assert (first["sessions"], first["total"]) == ([], 0)


async def test_a_conversation_is_watched_taken_over_spoken_in_and_given_back(live):
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        status = await bea.watch(session_id)
        assert status["type"] == "connection_status"
        assert [(m["sender"], m["content"]) for m in status["messages"][:1]] == [("user", "Hello")]
        assert (await bea.ask("admin_join", session_id=session_id))["type"] == "ack"
        assert (await ann.next("admin_join"))["metadata"]["admin_name"] == "Bea"
        assert (await bea.ask("user_message", session_id=session_id, content="I am here."))["type"] == "ack"
        heard = await ann.next("user_message")
        assert (heard["sender"], heard["content"]) == ("admin", "I am here.")
        await ann.say("user_message", content="Good.", message_id="q2")
        said = await bea.hear(lambda frame: frame.get("message_id") == "q2")
        assert (said["type"], said["sender"]) == ("user_message", "user")
        assert (await bea.ask("admin_leave", session_id=session_id))["type"] == "ack"
        await ann.next("admin_leave")
        await ann.answer()


@pytest.mark.parametrize(("head", "status"), [({}, 401), ({"Authorization": "Bearer x"}, 401)])
async def test_without_a_good_token_the_handshake_is_refused(live, head, status):
    assert await refused(live, **head) == status


async def test_without_the_role_the_handshake_is_refused(live):
    for roles in ((), ("user", "Admin", "admins")):
        assert await refused(live, Authorization=f"Bearer {token('ann', roles=roles)}") == 403


# -- who may -----------------------------------------------------------------------------------------------------------


async def test_who_loses_the_role_with_a_fresh_token_is_out_at_once(live):
    async with desk(live) as bea:
        await bea.hear("staff_status")
        await bea.say("auth", content=token("bea", roles=["user"]))
        assert await bea.ended() == Close.FORBIDDEN


async def test_a_fresh_token_goes_on_and_a_bad_one_can_be_mended(live):
    async with desk(live) as bea:
        await bea.hear("staff_status")
        wrong = await bea.ask("auth", content="nonsense")
        assert (wrong["error"]["code"], wrong["error"]["recoverable"]) == ("INVALID_TOKEN", True)
        message_id = await bea.say("auth", content=token("bea", roles=["admin"]))
        done = await bea.hear("notification")
        assert done["metadata"] == {"event": "auth_ok", "message_id": message_id}
        assert "session_id" not in done


async def test_another_users_token_ends_the_socket(live):
    async with desk(live) as bea:
        await bea.hear("staff_status")
        await bea.say("auth", content=token("cy", roles=["admin"]))
        assert await bea.ended() == Close.FORBIDDEN


async def test_a_revoked_token_is_refused_on_the_open_socket_even_if_it_says_nothing(live):
    async with desk(live) as bea, desk(live, "cy") as cy:
        await bea.hear("staff_status")
        await cy.hear("staff_status")
        await live.app.access.revoke("bea", now_ms() / 1000 + 1)
        assert await bea.ended() == Close.TOKEN
        assert await refused(live, Authorization=f"Bearer {token('bea', roles=['admin'])}") == 401
        assert (await cy.ask("ping"))["type"] == "pong"


async def test_a_blocked_member_of_staff_is_refused_at_the_next_frame(live, monkeypatch):
    monkeypatch.setattr("chatbox.connections.TICK", 1000.0)
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        await live.app.access.block("bea", Block(by="di", by_name="Di", at=now_ms(), by_admin=True))
        await bea.say("admin_join", session_id=session_id)
        assert await bea.ended() == Close.FORBIDDEN
        assert (await live.app.storage.get(session_id)).assisting_admin_id is None


async def test_what_waits_for_its_turn_is_not_done_once_the_right_is_gone(live):
    gate, doing = asyncio.Event(), live.app.office.desk.handle

    async def held(who, watching, box, command):
        if command.session_id == "slow":
            await gate.wait()
        await doing(who, watching, box, command)

    live.app.office.desk.handle = held
    async with desk(live) as bea:
        await bea.hear("staff_status")
        await bea.say("unwatch", session_id="slow")
        late = await bea.say("watch", session_id="slow")
        await bea.ask("ping")
        await live.app.access.revoke("bea", now_ms() / 1000 + 1)
        gate.set()
        assert await bea.ended() == Close.TOKEN
        assert not [f for f in bea.frames if f.get("message_id") == late]


async def test_staff_without_a_conversation_are_refused_with_who_has_it(live):
    async with live.socket() as ann, desk(live) as bea, desk(live, "cy") as cy:
        session_id = await asked(ann)
        first = await bea.ask("user_message", session_id=session_id, content="Hello?")
        assert first["error"]["code"] == "CONFLICT"
        assert first["session_id"] == session_id
        await bea.ask("admin_join", session_id=session_id)
        for kind, fields in (
            ("admin_join", {}),
            ("admin_leave", {}),
            ("user_message", {"content": "Me too"}),
            ("transfer", {"user_id": "bea"}),
        ):
            answer = await cy.ask(kind, session_id=session_id, **fields)
            assert (answer["type"], answer["error"]["code"]) == ("error", "CONFLICT"), kind
            assert "Bea" in answer["error"]["message"]
        assert (await cy.ask("note", session_id=session_id, content="Seen"))["type"] == "ack"


async def test_of_two_who_take_over_at_once_one_has_it(live):
    async with live.socket() as ann, desk(live) as bea, desk(live, "cy") as cy:
        session_id = await asked(ann)
        await ann.say("user_message", content="/slow 20 " + "word " * 200, message_id="long")
        await ann.next("loading")
        answers = await asyncio.gather(
            bea.ask("admin_join", session_id=session_id), cy.ask("admin_join", session_id=session_id)
        )
        assert sorted(answer["type"] for answer in answers) == ["ack", "error"]
        assert (await ann.answer())[-1]["metadata"]["finish_reason"] == "stopped"
        await ann.next("admin_join")


async def test_a_conversation_is_handed_on_to_a_colleague_who_is_online(live):
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        await bea.ask("admin_join", session_id=session_id)
        gone = await bea.ask("transfer", session_id=session_id, user_id="cy")
        assert gone["error"]["code"] == "NOT_FOUND"
        async with desk(live, "cy") as cy:
            await cy.hear("staff_status")
            assert (await bea.ask("transfer", session_id=session_id, user_id="cy"))["type"] == "ack"
            assert (await cy.ask("user_message", session_id=session_id, content="Hi"))["type"] == "ack"
            assert (await bea.ask("user_message", session_id=session_id, content="Hi"))["type"] == "error"
        joins = [(await ann.next("admin_join"))["metadata"]["admin_name"] for _ in range(2)]
        assert joins == ["Bea", "Cy"]


async def test_typing_is_shown_to_the_user_only_while_one_has_the_conversation(live):
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        await bea.watch(session_id)
        await bea.say("typing_indicator", session_id=session_id)
        await bea.ask("admin_join", session_id=session_id)
        await bea.say("typing_indicator", session_id=session_id)
        typing = await ann.next("typing_indicator")
        assert (typing["sender"], typing["metadata"]["admin_name"]) == ("admin", "Bea")
        await ann.say("typing_indicator")
        assert (await bea.hear("typing_indicator"))["sender"] == "user"
        await ann.say("ping")
        assert (await ann.next())["type"] == "pong"


async def test_what_staff_do_is_in_the_audit_log_refusals_too(live):
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        await bea.watch(session_id)
        await bea.ask("admin_join", session_id=session_id)
        await bea.ask("user_message", session_id=session_id, content="Secret words")
        await bea.ask("transfer", session_id=session_id, user_id="nobody")
        await bea.watch("nothing")
        acts = await live.app.audit.page()
        assert [(act.action, act.refused) for act in reversed(acts)] == [
            ("watch", ""),
            ("takeover", ""),
            ("message", ""),
            ("transfer", "NOT_FOUND"),
            ("watch", "NOT_FOUND"),
        ]
        assert {act.actor_id for act in acts} == {"bea"}
        assert "Secret words" not in str(acts)


# -- many conversations on one line ------------------------------------------------------------------------------------


@pytest.mark.readiness(issue=3)
async def test_after_a_cut_each_of_many_conversations_goes_on_where_it_was(live):
    users = [f"user{number}" for number in range(8)]
    sessions, places = {}, {}
    async with desk(live) as bea:
        for user in users:
            async with live.socket(user) as one:
                sessions[user] = await asked(one)
            await bea.watch(sessions[user])
        for user in users:
            copy = bea.copies[sessions[user]]
            places[user] = copy.epoch, copy.position, list(copy.conversation)
    for user in users:
        async with live.socket(user) as one:
            await one.next("connection_status")
            await one.say("user_message", content="More", message_id="more")
            await one.answer()
    async with desk(live) as back:
        await back.hear("staff_status")
        for user in users:
            epoch, position, _ = places[user]
            status = await back.watch(sessions[user], epoch=epoch, last_seq=position)
            assert (status["metadata"]["resumed"], status["seq"]) == ("true", position)
        for user in users:
            await back.hear(lambda f, s=sessions[user]: f.get("session_id") == s and f["type"] == "ai_response")
            new = back.copies[sessions[user]].conversation
            assert [text for _, text in new] == ["More", "More"]


async def test_one_conversation_does_not_wait_for_another(live):
    gate, doing = asyncio.Event(), live.app.takeovers.join

    async def held(*args):
        await gate.wait()
        return await doing(*args)

    live.app.takeovers.join = held
    async with live.socket() as ann, live.socket("ben") as ben, desk(live) as bea:
        first, second = await asked(ann), await asked(ben)
        join = await bea.say("admin_join", session_id=first)
        say = await bea.say("user_message", session_id=first, content="I am here")
        assert (await bea.watch(second))["type"] == "connection_status"
        assert (await bea.ask("note", session_id=second, content="n"))["type"] == "ack"
        assert not [f for f in bea.frames if f.get("message_id") in (join, say)]
        gate.set()
        for message_id in (join, say):
            assert (await bea.hear(lambda f, m=message_id: f.get("message_id") == m))["type"] == "ack"


async def test_conversations_do_not_wait_for_questions_about_all_of_them(live):
    gate, overview = asyncio.Event(), live.app.storage.overview
    figures = overview.figures

    async def held(*args):
        await gate.wait()
        return await figures(*args)

    overview.figures = held
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        question = await bea.say("figures")
        assert (await bea.ask("list"))["total"] == 1
        assert (await bea.watch(session_id))["type"] == "connection_status"
        gate.set()
        assert (await bea.hear(lambda f: f.get("message_id") == question))["type"] == "figures"


async def test_what_was_sent_before_the_line_broke_is_done(live):
    async with live.socket() as ann:
        session_id = await asked(ann)
        async with desk(live) as bea:
            await bea.hear("staff_status")
            await bea.say("admin_join", session_id=session_id)
            await bea.say("user_message", session_id=session_id, content="I was here")
        assert (await ann.next("user_message"))["content"] == "I was here"


async def test_a_repeated_frame_is_acknowledged_and_said_once(live):
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        await bea.ask("admin_join", session_id=session_id)
        for _ in range(3):
            await bea.say("user_message", session_id=session_id, content="Once", message_id="once")
        await bea.ask("note", session_id=session_id, content="end")
        assert len([f for f in bea.of("ack") if f["message_id"] == "once"]) == 3
        log = await live.app.storage.read(session_id)
        assert [entry.content for entry in log].count("Once") == 1


# -- limits ------------------------------------------------------------------------------------------------------------


@pytest.mark.readiness(issue=18)
async def test_more_than_twenty_frames_a_second_are_dropped_counted_and_said_once(live):
    async with desk(live) as bea:
        await bea.hear("staff_status")
        started = time.monotonic()
        for number in range(1000):
            await bea.say("ping", message_id=f"p{number}")
        refusal = await bea.hear("error")
        assert (refusal["error"]["code"], refusal["error"]["retry_after"]) == ("TOO_MANY_REQUESTS", 1000)
        await asyncio.sleep(1.1)
        assert (await bea.ask("ping"))["type"] == "pong"
        assert bea.closed is None
        answered = len(bea.of("pong")) - 1
        seconds = time.monotonic() - started
        assert answered <= 20 * (seconds + 1)
        assert len(bea.of("error")) <= seconds + 1
        dropped = live.app.metrics.admin_messages_dropped_total._value.get()
        assert dropped == 1000 - answered


async def test_too_much_that_waits_is_refused(live, monkeypatch):
    monkeypatch.setattr(socket, "MAX_PENDING", 2)
    gate = asyncio.Event()

    async def held(*_):
        await gate.wait()

    async with desk(live) as bea:
        await bea.hear("staff_status")
        live.app.office.desk.handle = held
        for _ in range(2):
            await bea.say("watch", session_id="s")
        answer = await bea.ask("watch", session_id="s")
        assert answer["error"]["code"] == "TOO_MANY_REQUESTS"
        gate.set()


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ({"type": "watch"}, "MISSING_FIELD"),
        ({"type": "history", "session_id": "s"}, "MISSING_FIELD"),
        ({"type": "history", "session_id": "s", "before": "1"}, "INVALID_FORMAT"),
        ({"type": "watch", "session_id": "s", "last_seq": -1}, "INVALID_FORMAT"),
        ({"type": "watch", "session_id": "s" * 129}, "INVALID_FORMAT"),
        ({"type": "user_message", "session_id": "s", "content": " "}, "MISSING_FIELD"),
        ({"type": "note", "session_id": "s"}, "MISSING_FIELD"),
        ({"type": "transfer", "session_id": "s"}, "MISSING_FIELD"),
        ({"type": "admin_join", "session_id": "s"}, "NOT_FOUND"),
        ({"type": "watch", "session_id": "*staff"}, "NOT_FOUND"),
        ({"type": "help_request", "session_id": "s"}, "INVALID_FORMAT"),
        ({"type": "auth"}, "MISSING_FIELD"),
    ],
)
async def test_a_frame_that_can_not_be_done_is_answered_with_its_ids(live, sent, code):
    async with desk(live) as bea:
        await bea.hear("staff_status")
        await bea.line.send_str(json.dumps({**sent, "message_id": "m"}))
        answer = await bea.hear("error")
        assert (answer["error"]["code"], answer["message_id"]) == (code, "m")
        if 0 < len(sent.get("session_id", "")) <= 128:
            assert answer["session_id"] == sent["session_id"]
        assert (await bea.ask("ping"))["type"] == "pong"


async def test_a_staff_socket_that_is_too_slow_ends_with_4408_and_what_was_dropped_is_counted(live, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_BYTES", 50_000)
    bearer = f"Authorization: Bearer {token('bea', roles=['admin'])}"
    async with live.socket() as ann, upgraded(live, "/admin/ws", bearer, room=4096, user=None) as slow:
        session_id = await asked(ann)
        await slow.next(TEXT)
        slow.write(frame(TEXT, json.dumps({"type": "watch", "session_id": session_id}).encode()))
        while json.loads(await slow.next(TEXT))["type"] != "connection_status":
            pass
        slow.writer.transport.pause_reading()
        for number in range(2):
            await ann.say("user_message", message_id=f"m{number}", content="/long 15000")
            await ann.answer()
        slow.writer.transport.resume_reading()
        while (found := await slow.frame())[0] != CLOSE:
            pass
        assert int.from_bytes(found[1][:2]) == Close.TOO_SLOW
        slow.write(frame(CLOSE, found[1][:2]))
        await slow.ended()
    async with asyncio.timeout(10):
        while not live.app.metrics.admin_messages_dropped_total._value.get():
            await asyncio.sleep(0.01)


async def test_long_answers_wait_for_a_slow_line_and_do_not_end_it(live, monkeypatch):
    gate, drain = asyncio.Event(), outbox.Outbox._drain

    async def held(self):
        await gate.wait()
        await drain(self)

    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        for number in range(2):
            await ann.say("user_message", message_id=f"m{number}", content="/long 15000")
            await ann.answer()
        await bea.hear("staff_status")
        monkeypatch.setattr(outbox, "MAX_BYTES", 600_000)
        monkeypatch.setattr(socket, "MAX_BYTES", 200_000)
        monkeypatch.setattr(outbox.Outbox, "_drain", held)
        monkeypatch.setattr(SocketLine, "offer", lambda self, frame: False)
        for number in range(15):
            await bea.say("history", session_id=session_id, before=1 << 40, message_id=f"h{number}")
        (opened,) = live.app.office.board._desks.values()
        async with asyncio.timeout(60):
            while opened.pending < 14 or opened.outbox.size < 100_000:  # all have come, and one is answered
                await asyncio.sleep(0.01)
            for _ in range(5):
                await live.app.storage.read(session_id)
        assert 100_000 < opened.outbox.size < 600_000
        gate.set()
        await bea.hear(lambda f: f.get("message_id") == "h14")
        assert [found["message_id"] for found in bea.of("history")] == [f"h{number}" for number in range(15)]


@pytest.mark.readiness(issue=3)
async def test_a_slow_line_that_breaks_leaves_nothing_waiting(live, monkeypatch):
    monkeypatch.setattr(socket, "MAX_BYTES", 200_000)
    bearer = f"Authorization: Bearer {token('bea', roles=['admin'])}"
    async with live.socket() as ann:
        session_id = await asked(ann)
        await ann.say("user_message", message_id="long", content="/long 15000")
        await ann.answer()
        before = len(live.app.tasks)
        async with upgraded(live, "/admin/ws", bearer, room=4096, user=None) as slow:
            await slow.next(TEXT)
            slow.writer.transport.pause_reading()
            for number in range(15):
                ask = {"type": "history", "session_id": session_id, "before": 1 << 40, "message_id": f"h{number}"}
                slow.write(frame(TEXT, json.dumps(ask).encode()))
            async with asyncio.timeout(10):
                while len(live.app.tasks) <= before + 2:
                    await asyncio.sleep(0.01)
            slow.writer.transport.abort()
        async with asyncio.timeout(20):
            while len(live.app.tasks) > before or len(live.app.connections) > 1:
                await asyncio.sleep(0.01)


async def test_a_server_that_drains_tells_staff_and_closes_their_sockets(live):
    async with desk(live) as bea:
        await bea.hear("staff_status")
        draining = asyncio.create_task(live.app.drain(5.0, window=0.2))
        told = await bea.hear("notification")
        assert told["metadata"]["event"] == "drain"
        assert "session_id" not in told
        assert await bea.ended() == Close.DRAINING
        await draining
        assert await refused(live, Authorization=f"Bearer {token('bea', roles=['admin'])}") == 503


async def test_staff_sockets_count_among_the_sockets_of_their_user(tmp_path):
    async with running(tmp_path, {"MAX_CONNECTIONS_PER_USER": "1"}) as live, desk(live) as bea:
        await bea.hear("staff_status")
        assert await refused(live, Authorization=f"Bearer {token('bea', roles=['admin'])}") == 429


@pytest.mark.readiness(issue=3)
async def test_nothing_is_left_when_staff_have_gone(live):
    async with live.socket() as ann:
        session_id = await asked(ann)
        for _ in range(20):
            async with desk(live) as bea:
                await bea.watch(session_id)
        async with asyncio.timeout(10):
            while len(live.app.connections) > 1 or len(live.app.office.board):
                await asyncio.sleep(0.01)
        assert len(live.app.hub.room(session_id).listeners) == 1
        assert await live.app.office.presence.online() == []


# -- staff who go away -------------------------------------------------------------------------------------------------


async def test_the_conversations_of_staff_who_stay_away_go_back_to_the_ai(tmp_path):
    async with running(tmp_path, {"STAFF_AWAY_TIMEOUT": "400ms"}) as live, live.socket() as ann:
        session_id = await asked(ann)
        async with desk(live, "cy") as cy, desk(live) as bea:
            await bea.ask("admin_join", session_id=session_id)
            await asyncio.sleep(1.0)
            assert not cy.of("admin_leave")
        await ann.say("user_message", content="Are you there?", message_id="there")
        left = await ann.next("admin_leave")
        assert left["metadata"]["reason"] == "away"
        await ann.answer()


async def test_who_calls_routes_or_comes_back_is_not_away(tmp_path):
    async with running(tmp_path, {"STAFF_AWAY_TIMEOUT": "400ms"}) as live, live.socket() as ann:
        session_id = await asked(ann)
        who = Principal("bea", "Bea", frozenset({"admin"}), 2e9)
        await live.app.takeovers.join(who, session_id, "join")
        await live.app.office.presence.call(who)
        await asyncio.sleep(1.0)
        assert (await live.app.storage.get(session_id)).assisting_admin_id == "bea"


# -- the model as an assistant -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("wish", "answer"), [("suggest", "suggestion"), ("summarise", "summary")])
async def test_the_model_writes_for_staff_and_the_user_hears_nothing_of_it(live, wish, answer):
    async with live.socket() as ann, desk(live) as bea:
        session_id = await asked(ann)
        before = await live.app.storage.get(session_id)
        await bea.say(wish, session_id=session_id, message_id="w")
        await bea.hear(lambda frame: frame["type"] == answer and frame["metadata"]["done"] == "true")
        written = [frame for frame in bea.frames if frame["type"] == answer]
        assert {(frame["session_id"], frame["message_id"]) for frame in written} == {(session_id, "w")}
        assert "Hello" in "".join([frame["content"] for frame in written])
        assert await live.app.storage.get(session_id) == before


async def test_what_the_model_can_not_write_is_said(live):
    async with desk(live) as bea:
        told = await bea.ask("suggest", session_id="nothing")
        assert (told["type"], told["error"]["code"]) == ("error", "NOT_FOUND")
        told = await bea.ask("summarise")
        assert told["error"]["code"] == "MISSING_FIELD"
