"""The live list and the waiting queue, for staff who sit at the user's replica and for those who sit at another one."""

import time
from contextlib import AsyncExitStack

import pytest

from chatbox.app import App, create_app, open_parts
from chatbox.backplane.base import Behind, Signal
from chatbox.backplane.memory import MemoryBackplane, MemoryBus
from chatbox.config import Config
from chatbox.entries import system_entry
from chatbox.protocol import Close
from chatbox.session import Change, Help, Kind, now_ms
from chatbox.staff import news, protocol
from chatbox.storage.memory import MemoryStorage
from tests.live import DEVELOPMENT, ECHO, running
from tests.redis_server import RedisServer
from tests.staff.desks import desk
from tests.world import principal


def one_replica(folder):
    return [create_app(Config.load(DEVELOPMENT | ECHO | {"CHATBOX_DATA_DIR": str(folder)}))]


def two_in_memory(folder):
    config = Config.load(DEVELOPMENT | ECHO | {"CHATBOX_DATA_DIR": str(folder)})
    bus, parts = MemoryBus(), open_parts(config)._replace(cells=MemoryStorage())
    return [App(config, parts._replace(backplane=MemoryBackplane(bus))) for _ in range(2)]


def two_over_redis(folder, url):
    more = {"REDIS_URL": url, "ENCRYPTION_KEY": "0123456789abcdef" * 4, "DRAIN_TIMEOUT": "1s"}
    config, cells = Config.load(DEVELOPMENT | ECHO | more | {"CHATBOX_DATA_DIR": str(folder)}), MemoryStorage()
    return [App(config, open_parts(config)._replace(cells=cells)) for _ in range(2)]


@pytest.fixture(params=["one replica", "two replicas", "two over Redis"])
async def both(tmp_path, request):
    """The user's replica and the one of staff."""
    async with AsyncExitStack() as stack:
        match request.param:
            case "one replica":
                apps = one_replica(tmp_path)
            case "two replicas":
                apps = two_in_memory(tmp_path)
            case _:
                apps = two_over_redis(tmp_path, stack.enter_context(RedisServer()).url)
        servers = [await stack.enter_async_context(running(tmp_path, app=app)) for app in apps]
        yield servers[0], servers[-1]


async def began(ann, text="Hello"):
    """A user's question that was answered; the session's id."""
    session_id = (await ann.next("connection_status"))["session_id"]
    await ann.say("user_message", content=text)
    await ann.answer()
    return session_id


def newest(bea, session_id):
    return bea.of("session_update", session_id)[-1]


async def test_a_change_is_told_at_once_and_the_last_state_always_comes(both, monkeypatch):
    monkeypatch.setattr(news, "PERIOD", 0.1)
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann:
        await bea.hear("staff_status")
        started = time.monotonic()
        session_id = await began(ann, "Where is my parcel?")
        for number in range(20):
            await ann.say("model_select", model_id="echo", message_id=f"m{number}")
        end = (await users.app.storage.get(session_id)).seq
        while end is None or (await users.app.storage.get(session_id)).last_index < 23:
            await ann.next("ack")
        end = (await users.app.storage.get(session_id)).seq
        last = await bea.hear(lambda f: f["type"] == "session_update" and f.get("last_seq") == end)
        assert last["session"]["name"] == "Where is my parcel?"
        assert (last["session"]["user_name"], last["session"]["online"]) == ("Ann", True)
        assert last["session"]["message_count"] == 2
        updates = bea.of("session_update", session_id)
        assert updates[0]["last_seq"] < end
        assert len(updates) <= (time.monotonic() - started) / 0.1 + 2
        assert [update["last_seq"] for update in updates] == sorted({update["last_seq"] for update in updates})


async def test_an_update_shows_the_beginning_of_what_was_said_last(both):
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann:
        await bea.hear("staff_status")
        await began(ann, "a" * 200)
        first = await bea.hear("session_update")
        assert first["metadata"] == {"preview": "a" * 140, "preview_sender": "user"}
        answered = await bea.hear(lambda f: f.get("metadata", {}).get("preview_sender") == "ai")
        assert answered["metadata"]["preview"].startswith("aaa")


async def test_staff_see_when_a_user_leaves_and_comes_back(both, monkeypatch):
    monkeypatch.setattr(news, "PERIOD", 0.2)
    users, staff = both
    async with desk(staff) as bea:
        await bea.hear("staff_status")
        async with users.socket() as ann:
            session_id = await began(ann)
        gone = await bea.hear(lambda f: f.get("session", {}).get("online") is False)
        assert gone["session_id"] == session_id
        seen = len(bea.frames)
        async with users.socket():
            await bea.hear(lambda f: f in bea.frames[seen:] and f.get("session", {}).get("online") is True)


async def test_staff_do_not_get_what_a_provider_keeps_nor_the_share_link(both):
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann:
        await bea.hear("staff_status")
        session_id = await began(ann)
        change = Change(context={"page": "/cart", "llm:echo": "secret"}, share_token="hidden")
        await users.app.storage.append(system_entry(session_id, Kind.SHARE, "c", {}), change)
        told = await bea.hear(lambda f: f.get("session", {}).get("context"))
        assert told["session"]["context"] == {"page": "/cart"}
        assert "hidden" not in str(bea.frames)


async def test_who_asks_for_help_is_in_the_queue_until_somebody_comes(both, monkeypatch):
    monkeypatch.setattr("chatbox.staff.board.PERIOD", 0.05)
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann, users.socket("ben") as ben:
        await bea.hear("staff_status")
        first, second = await began(ann), await began(ben)
        await ann.say("help_request", content="Please")
        queue = await bea.hear(lambda f: f["type"] == "help_update" and f["total"] == 1)
        assert queue["sessions"][0]["help_state"] in ("asked", "told")
        assert queue["sessions"][0]["help_since"]
        await ben.say("help_request")
        queue = await bea.hear(lambda f: f["type"] == "help_update" and f["total"] == 2)
        assert [session["id"] for session in queue["sessions"]] == [first, second]
        async with desk(staff, "cy") as cy:
            status = await cy.hear("staff_status")
            assert ([session["id"] for session in status["sessions"]], status["total"]) == ([first, second], 2)
            await cy.ask("admin_join", session_id=first)
            await bea.hear(lambda f: f["type"] == "help_update" and [s["id"] for s in f["sessions"]] == [second])
            taken = await bea.hear(lambda f: f.get("session", {}).get("assisting_admin_name"))
            assert taken["session"]["assisting_admin_name"] == "Cy"
            assert taken["session"]["assisted_since"]
        await ben.say("help_cancel")
        await bea.hear(lambda f: f["type"] == "help_update" and f["total"] == 0)


async def test_a_deleted_conversation_leaves_the_list_and_the_queue(both):
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann:
        await bea.hear("staff_status")
        session_id = await began(ann)
        await ann.say("help_request")
        await bea.hear("help_update")
        sessions = users.app.sessions
        await sessions.delete(await sessions.own(principal(), session_id))
        await bea.hear(lambda f: f.get("metadata", {}).get("deleted") == "true" and f["session_id"] == session_id)
        await bea.hear(lambda f: f["type"] == "help_update" and f["total"] == 0)


async def test_colleagues_see_each_other_come_and_go(both):
    users, staff = both
    async with desk(staff) as bea:
        await bea.hear("staff_status")
        async with desk(users, "cy") as cy:
            assert [one["name"] for one in (await cy.hear("staff_status"))["staff"]] == ["Bea", "Cy"]
            await bea.hear(lambda f: f["type"] == "staff_update" and len(f["staff"]) == 2)
        await bea.hear(lambda f: f["type"] == "staff_update" and f["staff"] == [{"id": "bea", "name": "Bea"}])


async def test_what_happened_just_before_the_first_of_staff_came_is_told_too(both):
    users, staff = both
    async with users.socket() as ann:
        session_id = await began(ann)
        async with desk(staff) as bea:
            await bea.hear(lambda f: f["type"] == "session_update" and f["session_id"] == session_id)


async def test_nothing_is_published_while_no_staff_are_online(both, monkeypatch):
    users, _ = both
    plane = users.app.backplane
    topics, publish = [], plane.publish

    async def noted(topic, event):
        topics.append(topic)
        await publish(topic, event)

    monkeypatch.setattr(plane, "publish", noted)
    async with users.socket() as ann:
        await began(ann)
    assert news.TOPIC not in topics


async def test_when_news_may_have_been_lost_the_queue_is_read_again(both, monkeypatch):
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann:
        await bea.hear("staff_status")
        session_id = await began(ann)
        monkeypatch.setattr(news.News, "take", lambda self, told: None)
        for app in {users.app, staff.app}:
            app.storage._followers.clear()
        await ann.say("help_request")
        await ann.next("notification")
        staff.app.hub._receive(news.TOPIC, Behind())
        queue = await bea.hear("help_update")
        assert [session["id"] for session in queue["sessions"]] == [session_id]
        assert (await bea.hear("notification"))["metadata"] == {"event": "news_lost"}


async def test_news_that_come_late_change_nothing(both):
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann:
        await bea.hear("staff_status")
        session_id = await began(ann)
        await ann.say("help_request")
        await bea.hear("help_update")
        waiting = await users.app.storage.get(session_id)
        await bea.ask("admin_join", session_id=session_id)
        await bea.hear(lambda f: f["type"] == "help_update" and f["total"] == 0)
        late = protocol.session_update(
            waiting, {"id": session_id, "help_since": "x", "help_state": str(Help.ASKED)}, {}
        )
        await users.app.backplane.publish(news.TOPIC, Signal(str(late)))
        await users.app.backplane.publish(news.TOPIC, Signal(str(protocol.session_gone("other"))))
        await bea.hear(lambda f: f["type"] == "session_update" and f["session_id"] == "other")
        assert not [update for update in bea.of("session_update") if update.get("session", {}).get("help_since") == "x"]
        assert staff.app.office.board.waiting.total == 0


async def test_a_list_is_filtered_sorted_and_counted(both):
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann, users.socket("ben") as ben:
        first, second = await began(ann), await began(ben)
        await ben.say("help_request")
        await bea.hear("help_update")
        asked = {"sort_by": "user_id", "sort_order": "asc", "limit": "1"}
        found = await bea.ask("list", metadata=asked)
        assert (found["type"], found["total"], found["metadata"]) == ("session_list", 2, asked)
        assert [session["id"] for session in found["sessions"]] == [first]
        assert found["sessions"][0]["online"] is True
        found = await bea.ask("list", metadata={"help_requested": "true"})
        assert [session["id"] for session in found["sessions"]] == [second]
        wrong = await bea.ask("list", metadata={"limit": "0", "colour": "red"})
        assert wrong["error"]["code"] == "INVALID_FORMAT"
        assert "limit" in wrong["error"]["message"]
        assert "colour" in wrong["error"]["message"]


async def test_figures_are_those_of_the_api(both):
    users, staff = both
    async with desk(staff) as bea, users.socket() as ann:
        await began(ann)
        answer = await bea.ask("figures", metadata={"step": "3600"})
        assert (answer["type"], answer["figures"]["total_sessions"]) == ("figures", 1)
        assert sum(step["sessions"] for step in answer["series"]) == 1
        wrong = await bea.ask("figures", metadata={"start_time": "yesterday"})
        assert (wrong["type"], wrong["error"]["code"]) == ("error", "INVALID_FORMAT")


async def test_who_is_demoted_is_out_within_five_seconds_on_every_replica(both):
    users, staff = both
    async with desk(staff) as bea, desk(users, "cy") as cy:
        await bea.hear("staff_status")
        await cy.hear("staff_status")
        await users.app.access.revoke("bea", now_ms() / 1000 + 1)
        assert await bea.ended(patience=5) == Close.TOKEN
        await cy.hear(lambda f: f["type"] == "staff_update" and f["staff"] == [{"id": "cy", "name": "Cy"}])


async def test_what_happened_while_redis_was_away_is_seen_when_it_is_back(tmp_path):
    async with AsyncExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        users, staff = [
            await stack.enter_async_context(running(tmp_path, app=app)) for app in two_over_redis(tmp_path, redis.url)
        ]
        async with desk(staff) as bea, users.socket() as ann:
            await bea.hear("staff_status")
            session_id = await began(ann)
            await bea.watch(session_id)
            await bea.ask("admin_join", session_id=session_id)
            redis.kill()
            await ann.say("user_message", content="Hello?", message_id="lost")
            await ann.next("ack")
            async with users.socket("ben") as ben:
                other = await began(ben)
                await ben.say("help_request")
                await ben.next("notification")
                assert not bea.of("help_update")
                redis.start()
                queue = await bea.hear(lambda f: f["type"] == "help_update" and f["total"] == 1, patience=40)
                assert [session["id"] for session in queue["sessions"]] == [other]
                heard = await bea.hear(lambda f: f.get("message_id") == "lost", patience=40)
                assert heard["content"] == "Hello?"
                assert (await users.app.storage.get(session_id)).assisting_admin_id == "bea"
