"""What staff's routes answer: lists and totals that are exact, conversations with notes, takeovers, figures, logs."""

import asyncio
import json
import operator
from urllib.parse import quote

import pytest

from chatbox.errors import StorageBusy
from chatbox.protocol import rfc3339
from chatbox.session import Change, Entry, Help, Kind, Sender, Session, new_id, now_ms
from chatbox.staff.parameters import milliseconds
from tests.api.test_staff import LOTS, Place, ask, bearer, colleague, talk
from tests.live import running, token


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path, LOTS) as server:
        yield server


async def get(live, path, who="", **params):
    """The body of a good answer."""
    status, _, body = await ask(live, "GET", path, who or bearer(), params=params)
    assert status == 200, body
    return body


async def do(live, method, path, who="", **body):
    status, _, said = await ask(live, method, path, who or bearer(), **({"json": body} if body else {}))
    return status, said


# -- the list of sessions ----------------------------------------------------------------------------------------------

DAY = 86_400_000


async def people(live, count=24):
    """Sessions of all kinds; as staff see each."""
    now = now_ms()
    for number in range(count):
        user = f"user{number % 5}"
        at = now - (count - number) * 3_600_000
        session = Session(id=f"session{number:02}", user_id=user, epoch="e", start_time=at, last_activity=at)
        await live.app.storage.create(session)
        for step in range(1 + number % 4):
            entry = Entry(
                session_id=session.id,
                kind=Kind.USER_MESSAGE,
                message_id=f"m{step}",
                sender=Sender.USER,
                content="hi",
                timestamp=at + step * (1 + number % 3) * 60_000,
            )
            await live.app.storage.append(entry, Change(active=True, tokens=number * 7 % 11) if not step else Change())
        if number % 3 == 0:
            await act(live, session.id, Kind.ADMIN_JOIN, joins="sue", admin_name="Sue")
        if number % 4 == 1:
            await act(live, session.id, Kind.NOTIFICATION, help_state=Help.ASKED)
    return (await get(live, "/sessions", limit=1000))["sessions"]


async def act(live, session_id, kind, **change):
    session = await live.app.storage.get(session_id)
    entry = Entry(
        session_id=session_id,
        kind=kind,
        message_id=new_id(),
        sender=Sender.ADMIN if "joins" in change else Sender.SYSTEM,
        timestamp=session.last_activity,
        metadata={"admin_id": "sue", "admin_name": "Sue"},
    )
    await live.app.storage.append(entry, Change(**change))


FILTERS = {
    "user_id": ("user3", lambda session: session["user_id"] == "user3"),
    "admin_assisted": ("true", operator.itemgetter("admin_assisted")),
    "help_requested": ("false", lambda session: not session["help_requested"]),
    "status": ("ended", lambda session: not session["is_active"]),
}


async def test_filters_are_exact_alone_and_together_and_the_total_counts_what_matches(live):
    everyone = await people(live)
    assert len(everyone) == 24
    for first in FILTERS:
        for second in FILTERS:
            (value, matches), (other, fits) = FILTERS[first], FILTERS[second]
            body = await get(live, "/sessions", **{first: value, second: other, "limit": 3, "offset": 1})
            expected = [session["id"] for session in everyone if matches(session) and fits(session)]
            assert [session["id"] for session in body["sessions"]] == expected[1:4]
            assert (body["total"], body["count"]) == (len(expected), len(expected[1:4]))
            assert (body["limit"], body["offset"]) == (3, 1)
    assert 0 < (await get(live, "/sessions", status="active"))["total"] < 24
    for value in ("active", "ended"):
        listed = (await get(live, "/sessions", status=value, limit=1000))["sessions"]
        assert {session["is_active"] for session in listed} == {value == "active"}


async def test_both_ends_of_the_time_belong_to_it(live):
    everyone = sorted(await people(live), key=operator.itemgetter("start_time"))
    start, end = everyone[5]["start_time"], everyone[9]["start_time"]
    body = await get(live, "/sessions", start_time_from=start, start_time_to=end)
    assert {session["id"] for session in body["sessions"]} == {session["id"] for session in everyone[5:10]}
    berlin = start.replace("Z", "+00:00")
    assert (await get(live, "/sessions", start_time_from=berlin, start_time_to=start))["total"] == 1
    just_after = rfc3339(milliseconds(end) + 1)
    assert (await get(live, "/sessions", start_time_from=just_after))["total"] == len(everyone) - 10


SORTS = ["start_time", "end_time", "last_activity", "duration", "message_count", "total_tokens", "user_id"]


@pytest.mark.parametrize("field", SORTS)
async def test_every_sort_is_in_order_both_ways_with_ties_by_id_and_pages_fit_together(live, field):
    everyone = await people(live)

    def key(session):
        value = session[field]
        return (value is not None, 0 if value is None else value, session["id"])

    for order in ("asc", "desc"):
        pages = [
            (await get(live, "/sessions", sort_by=field, sort_order=order, limit=7, offset=offset))["sessions"]
            for offset in range(0, 28, 7)
        ]
        listed = [session for page in pages for session in page]
        if field == "duration":  # in ms there, in s here
            assert sorted(session["id"] for session in listed) == sorted(session["id"] for session in everyone)
            seconds = [session["duration"] for session in listed]
            assert all(abs(a - b) <= 2 for a, b in zip(seconds, sorted(seconds, reverse=order == "desc"), strict=True))
        else:
            assert [s["id"] for s in listed] == [s["id"] for s in sorted(everyone, key=key, reverse=order == "desc")]


async def test_an_offset_beyond_the_end_is_an_empty_page_with_the_total(live):
    await people(live)
    for offset in (24, 2**31, 2**53):
        body = await get(live, "/sessions", offset=offset)
        assert (body["sessions"], body["count"], body["total"]) == ([], 0, 24)


async def test_the_sessions_of_one_user_are_listed_whatever_the_id_is_made_of(live):
    names = ["ann", "a/b", "sessions", "ann/sessions", "Grüße 🦊", "x?y#z", "100%", "a+b", "ann@example.com"]
    for user in names:
        await talk(live, user=user)
    for user in names:
        path = f"/users/{quote(user, safe='')}/sessions"
        body = await get(live, path)
        assert [session["user_id"] for session in body["sessions"]] == [user]
        assert (body["total"], (await get(live, path, status="ended"))["total"]) == (1, 0)
        assert (await get(live, "/sessions", user_id=user))["total"] == 1


async def test_staff_see_the_name_and_context_but_neither_links_nor_what_providers_keep(live):
    session_id = await talk(live)
    assert (await live.call("POST", f"/sessions/{session_id}/share"))[0] == 200
    context = {"page": "https://shop.example/cart", "llm:echo": "secret state"}
    entry = Entry(session_id=session_id, kind=Kind.NOTIFICATION, message_id="c", sender=Sender.SYSTEM, timestamp=1)
    await live.app.storage.append(entry, Change(context=context))
    for path in ("/sessions", "/users/ann/sessions"):
        (session,) = (await get(live, path))["sessions"]
        assert (session["user_name"], session["context"]) == ("Ann", {"page": "https://shop.example/cart"})
        assert "share_token" not in session
    opened = await get(live, f"/sessions/{session_id}")
    assert opened["session"] == session
    assert "secret state" not in str(opened)


@pytest.mark.readiness(issue=2)
async def test_staff_know_a_session_by_the_id_that_its_client_was_told(live):
    async with live.socket() as line:
        session_id = (await line.next())["session_id"]
        assert (await get(live, "/sessions"))["sessions"] == []
        await line.say("user_message", message_id="m", content="hi")
        await line.answer()
        await line.say("help_request", message_id="h")
        await line.next("ack")
        assert (await do(live, "POST", f"/takeover/{session_id}"))[0] == 200
        assert (await line.next("admin_join"))["session_id"] == session_id
    for path in ("/sessions", "/users/ann/sessions"):
        assert [session["id"] for session in (await get(live, path))["sessions"]] == [session_id]
    opened = await get(live, f"/sessions/{session_id}")
    assert opened["session_id"] == opened["session"]["id"] == session_id
    assert [one["session_id"] for one in (await get(live, "/takeovers"))["takeovers"]] == [session_id]
    assert {act["session_id"] for act in (await get(live, "/audit"))["entries"]} == {session_id}


@pytest.mark.readiness(issue=2)
async def test_a_session_whose_first_message_could_not_be_stored_is_nowhere_for_staff(live, monkeypatch):
    async def fail(*_args, **_kwargs):
        raise StorageBusy("the disk is full")

    async with live.socket() as line:
        session_id = (await line.next())["session_id"]
        with monkeypatch.context() as broken:
            broken.setattr(live.app.storage, "append", fail)
            await line.say("user_message", message_id="m", content="hi")
            assert (await line.next("error"))["error"]["code"] == "DATABASE_ERROR"
    assert (await get(live, "/sessions"))["total"] == 0
    assert (await get(live, "/metrics"))["total_sessions"] == 0
    assert (await get(live, f"/sessions/{session_id}"))["messages"] == []


# -- one conversation --------------------------------------------------------------------------------------------------


async def test_notes_are_shown_to_staff_in_their_place_and_to_nobody_else(live):
    session_id = await talk(live, "one")
    share = (await live.call("POST", f"/sessions/{session_id}/share"))[1]["share_token"]
    prompts = watch_prompts(live)
    async with live.socket(session_id=session_id) as line:
        await line.next()
        status, taken = await do(live, "POST", f"/sessions/{session_id}/notes", content=" He is  angry. \0")
        assert (status, taken["session_id"]) == (200, session_id)
        await line.say("user_message", message_id="later", content="two")
        heard = [await line.next("ack"), *await line.answer()]
    assert "angry" not in json.dumps(heard)
    (note,) = (await get(live, f"/sessions/{session_id}/notes"))["notes"]
    assert (note["content"], note["message_id"], note["sender"]) == ("He is  angry.", taken["message_id"], "admin")
    assert note["metadata"] == {"admin_id": "root", "admin_name": "Root", "event": "note"}
    messages = (await get(live, f"/sessions/{session_id}"))["messages"]
    contents = [message["content"] for message in messages if message["sender"] != "system"]
    assert contents == ["one", "one", "He is  angry.", "two", "two"]
    for path in (f"/sessions/{session_id}", f"/sessions/{session_id}/export", f"/shared/{share}", "/sessions"):
        assert "angry" not in json.dumps((await live.call("GET", path))[1]), path
    assert "angry" not in str(prompts)


def watch_prompts(live):
    """The prompts that the model is given from now on."""
    model, prompts = live.app.providers["echo"], []
    stream = model.stream

    def watched(prompt):
        prompts.append(prompt)
        return stream(prompt)

    model.stream = watched
    return prompts


async def test_a_note_sent_again_is_one_note_and_another_one_under_its_id_is_refused(live):
    session_id = await talk(live)
    path = f"/sessions/{session_id}/notes"
    for _ in range(2):
        assert (await do(live, "POST", path, content="angry", message_id="n1"))[0] == 200
    assert (await do(live, "POST", path, content="calm", message_id="n1"))[0] == 409
    assert (await do(live, "POST", path, content="angry", message_id="m0"))[0] == 409
    assert len((await get(live, path))["notes"]) == 1


async def test_a_long_conversation_is_read_page_by_page_with_nothing_twice_or_left_out(live):
    session_id = await talk(live, *[f"message {number}" for number in range(8)])
    for number in range(250):
        assert await note(live, session_id, f"note {number}")
    pages, before = [], {}
    while True:
        page = await get(live, f"/sessions/{session_id}", **before)
        pages.insert(0, page["messages"])
        if page["before"] is None:
            break
        before = {"before": page["before"]}
    seqs = [message["seq"] for page in pages for message in page]
    assert len(pages) > 1
    assert seqs == sorted(set(seqs))
    assert len(seqs) == 16 + 250
    listed = (await get(live, f"/sessions/{session_id}/notes"))["notes"]
    assert [found["content"] for found in listed] == [f"note {number}" for number in range(250)]


async def note(live, session_id, text):
    entry = Entry(
        session_id=session_id,
        kind=Kind.NOTE,
        message_id=new_id(),
        sender=Sender.ADMIN,
        content=text,
        timestamp=now_ms(),
    )
    return (await live.app.storage.append(entry)).fresh


# -- takeovers ---------------------------------------------------------------------------------------------------------


async def test_a_takeover_by_http_is_what_the_user_sees_and_only_an_administrator_ends_a_colleagues(live):
    sue, kim = bearer("sue", "chat_admin"), bearer("kim", "chat_admin")
    session_id = await talk(live)
    async with live.socket(session_id=session_id) as line:
        await line.next()
        done = {"message": "You have the conversation.", "session_id": session_id, "admin_id": "sue"}
        for _ in range(2):
            assert await do(live, "POST", f"/takeover/{session_id}", sue) == (200, done)
        joined = await line.next("admin_join")
        assert joined["metadata"] == {"admin_id": "sue", "admin_name": "Sue"}
        for who in (kim, bearer()):
            status, body = await do(live, "POST", f"/takeover/{session_id}", who)
            assert (status, body["code"], "Sue" in body["error"]) == (409, "CONFLICT", True)
        status, body = await do(live, "POST", f"/release/{session_id}", kim)
        assert (status, body["code"]) == (403, "INSUFFICIENT_PERMISSIONS")
        for _ in range(2):
            status, body = await do(live, "POST", f"/release/{session_id}")
            assert (status, body["admin_id"]) == (200, "root")
        left = (await line.next("admin_leave"))["metadata"]
        assert (left["admin_id"], left["reason"], left["released_by"]) == ("sue", "released", "root")
    (session,) = (await get(live, "/sessions"))["sessions"]
    assert (session["admin_assisted"], session["assisting_admin_id"]) == (True, None)


async def test_of_two_who_take_over_at_once_one_has_it_and_the_other_is_told_who(live):
    session_id = await talk(live)
    staff = [bearer(name, "chat_admin") for name in ("sue", "kim", "lee", "kay")]
    answers = await asyncio.gather(*(do(live, "POST", f"/takeover/{session_id}", who) for who in staff))
    assert sorted(status for status, _ in answers) == [200, 409, 409, 409]
    (winner,) = [body["admin_id"] for status, body in answers if status == 200]
    assert all(winner.title() in body["error"] for status, body in answers if status == 409)
    assert (await live.app.storage.get(session_id)).assisting_admin_id == winner


async def test_a_running_answer_is_stopped_by_a_takeover_by_http(live):
    async with live.socket() as line:
        session_id = (await line.next())["session_id"]
        await line.say("user_message", message_id="m", content="/slow 20 " + "word " * 200)
        await line.next("ai_response")
        assert (await do(live, "POST", f"/takeover/{session_id}"))[0] == 200
        frames = []
        while not frames or frames[-1]["type"] != "admin_join":
            frames.append(await line.next())
        done = [frame for frame in frames if frame.get("metadata", {}).get("done") == "true"]
        assert [frame["metadata"]["finish_reason"] for frame in done] == ["stopped"]


async def test_a_conversation_is_handed_on_to_a_colleague_who_is_online_and_to_nobody_else(live):
    sue = bearer("sue", "chat_admin")
    session_id = await talk(live)
    await do(live, "POST", f"/takeover/{session_id}", sue)
    status, body = await do(live, "POST", f"/transfer/{session_id}", sue, user_id="kim")
    assert (status, body["error"]) == (404, "This colleague is not online.")
    async with colleague(live, "kim"):
        assert (await do(live, "POST", f"/transfer/{session_id}", bearer("lee"), user_id="kim"))[0] == 409
        done = {"message": "Kim has the conversation.", "session_id": session_id, "admin_id": "kim"}
        assert await do(live, "POST", f"/transfer/{session_id}", sue, user_id="kim") == (200, done)
        assert (await do(live, "POST", f"/transfer/{session_id}", sue, user_id="kim"))[0] == 409
    found = (await get(live, "/takeovers"))["takeovers"]
    assert [(one["admin_id"], one["admin_name"], one["end"] is None) for one in found] == [
        ("kim", "Kim", True), ("sue", "Sue", False),
    ]  # fmt: skip


async def test_takeovers_are_listed_newest_first_with_names_by_session_and_by_staff_page_by_page(live):
    ids = [await talk(live, user=f"user{number}") for number in range(3)]
    for turn in range(4):
        for session_id in ids:
            who = bearer(("sue", "kim")[turn % 2], "chat_admin")
            await do(live, "POST", f"/takeover/{session_id}", who)
            if turn < 3:
                await do(live, "POST", f"/release/{session_id}", who)
    whole = (await get(live, "/takeovers"))["takeovers"]
    assert len(whole) == 12
    assert [one["start"] for one in whole] == sorted((one["start"] for one in whole), reverse=True)
    assert {(one["admin_id"], one["admin_name"]) for one in whole} == {("sue", "Sue"), ("kim", "Kim")}
    assert [one["end"] is None for one in whole] == [True] * 3 + [False] * 9
    for filters, matching in (
        ({}, whole),
        ({"admin_id": "sue"}, [one for one in whole if one["admin_id"] == "sue"]),
        ({"session_id": ids[1]}, [one for one in whole if one["session_id"] == ids[1]]),
        ({"session_id": ids[1], "admin_id": "kim"}, None),
        ({"admin_id": "nobody"}, []),
    ):
        found, cursor = [], {}
        while cursor is not None:
            page = await get(live, "/takeovers", **filters, limit=2, **cursor)
            assert page["count"] == len(page["takeovers"]) <= 2
            found += page["takeovers"]
            cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
        if matching is None:
            matching = [one for one in whole if (one["session_id"], one["admin_id"]) == (ids[1], "kim")]
        assert found == matching


async def test_those_who_wait_longest_for_a_person_come_first_and_leave_when_someone_joins(live):
    ids = []
    for user in ("ann", "bob", "carl"):
        async with live.socket(user) as line:
            ids.append((await line.next())["session_id"])
            await line.say("help_request", message_id="h", content="please")
            await line.next("ack")
    queue = await get(live, "/help")
    assert [session["id"] for session in queue["sessions"]] == ids
    assert queue["total"] == 3
    assert all(session["help_since"] and session["help_state"] in ("asked", "told") for session in queue["sessions"])
    await do(live, "POST", f"/takeover/{ids[0]}")
    queue = await get(live, "/help")
    assert [session["id"] for session in queue["sessions"]] == ids[1:]


# -- figures -----------------------------------------------------------------------------------------------------------

FLAT = [
    "total_sessions", "active_sessions", "avg_concurrent", "max_concurrent", "total_tokens", "avg_response_time",
    "max_response_time", "admin_assisted_count", "time_range",
]  # fmt: skip


async def test_figures_are_flat_and_agree_with_the_conversations_and_with_the_series(live):
    begun = rfc3339(now_ms() - now_ms() % 60_000)
    for user in ("ann", "bob"):
        session_id = await talk(live, "one", "two", user=user)
    await do(live, "POST", f"/takeover/{session_id}")
    figures = await get(live, "/metrics")
    assert set(FLAT) <= set(figures)
    sessions = (await get(live, "/sessions"))["sessions"]
    assert (figures["total_sessions"], figures["active_sessions"], figures["admin_assisted_count"]) == (2, 2, 1)
    assert figures["total_tokens"] == sum(session["total_tokens"] for session in sessions) > 0
    assert figures["messages"] == sum(session["message_count"] for session in sessions) == 8
    assert figures["max_response_time"] == max(session["max_response_time"] for session in sessions)
    assert figures["max_concurrent"] == 2
    start, end = (milliseconds(figures["time_range"][name]) for name in ("start", "end"))
    assert (end - start, abs(end - now_ms()) < 60_000) == (DAY, True)
    later = rfc3339(now_ms() + 3_600_000)
    series = await get(live, "/series", start_time=begun, end_time=later, step=60)
    assert (series["step"], series["time_range"]) == (60, {"start": begun, "end": later})
    for field in ("messages", "tokens", "errors", "answers"):
        total = figures["total_tokens"] if field == "tokens" else figures[field]
        assert sum(bucket[field] for bucket in series["series"]) == total, field
    assert sum(bucket["sessions"] for bucket in series["series"]) == 2
    assert max(bucket["max_concurrent"] for bucket in series["series"]) == 2


async def test_a_period_with_nothing_in_it_has_only_zeros(live):
    await talk(live)
    period = {"start_time": "2020-01-01T00:00:00Z", "end_time": "2020-01-02T00:00:00Z"}
    figures = await get(live, "/metrics", **period)
    assert figures["time_range"] == {"start": "2020-01-01T00:00:00.000Z", "end": "2020-01-02T00:00:00.000Z"}
    assert {figures[name] for name in FLAT[:-1] if name != "active_sessions"} == {0}
    series = (await get(live, "/series", **period))["series"]
    assert 50 <= len(series) <= 200
    assert {bucket["sessions"] + bucket["messages"] for bucket in series} == {0}


@pytest.mark.parametrize(
    ("path", "params", "name"),
    [
        ("/metrics", {"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "start_time"),
        ("/metrics", {"start_time": "2999-01-01T00:00:00Z"}, "start_time"),
        ("/series", {"start_time": "2026-01-02T00:00:00Z", "end_time": "2026-01-01T00:00:00Z"}, "start_time"),
        ("/series", {"start_time": "2020-01-01T00:00:00Z", "end_time": "2026-01-01T00:00:00Z", "step": 60}, "step"),
        ("/sessions", {"start_time_from": "2026-01-02T00:00:00Z", "start_time_to": "2026-01-01T00:00:00Z"}, "start_"),
        ("/takeovers", {"cursor": "nonsense"}, "cursor"),
        ("/takeovers", {"cursor": "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5IDEgYQ=="}, "cursor"),
        ("/audit", {"cursor": "Grüße"}, "cursor"),
        ("/alerts", {"cursor": "AAAA"}, "cursor"),
    ],
)
async def test_values_that_do_not_go_together_or_are_no_cursors_are_400_and_say_which(live, path, params, name):
    status, _, body = await ask(live, "GET", path, bearer(), params=params)
    assert (status, body["code"]) == (400, "INVALID_FORMAT")
    assert name in body["error"]


async def test_the_longest_periods_there_are_are_answered(live):
    await talk(live)
    period = {"start_time": "1970-01-01T00:00:00Z", "end_time": "9999-12-31T23:59:59.999Z"}
    assert (await get(live, "/metrics", **period))["total_sessions"] == 1
    series = (await get(live, "/series", **period))["series"]
    assert len(series) <= 200
    assert sum(bucket["sessions"] for bucket in series) == 1


# -- revocations and blocks --------------------------------------------------------------------------------------------


async def test_a_revocation_takes_times_as_texts_and_numbers_and_tells_what_is_void(live):
    before = "2026-01-01T01:00:00+01:00"
    for value in (before, 1767225600, 1767225600.0):
        status, body = await do(live, "POST", "/revocations", user_id="ann", before=value)
        assert (status, body) == (200, {"user_id": "ann", "before": "2026-01-01T00:00:00.000Z"})
    assert (await live.call("GET", "/sessions", user="ann"))[0] == 200
    status, body = await do(live, "POST", "/revocations", user_id="ann", before="2020-01-01T00:00:00Z")
    assert body["before"] == "2026-01-01T00:00:00.000Z"
    old = {"Authorization": f"Bearer {token('ann')}"}
    status, body = await do(live, "POST", "/revocations", user_id="ann")
    assert abs(milliseconds(body["before"]) - now_ms()) < 30_000
    async with live.session.get(f"{live.http}/sessions", headers=old) as answer:
        assert (answer.status, (await answer.json())["code"]) == (401, "INVALID_TOKEN")
    assert (await live.call("GET", "/sessions", user="bob"))[0] == 200


async def test_one_can_revoke_ones_own_tokens_but_not_block_oneself(live):
    mine = bearer()
    assert (await do(live, "POST", "/blocks", mine, user_id="root"))[0] == 409
    assert (await do(live, "POST", "/revocations", mine, user_id="root"))[0] == 200
    assert (await ask(live, "GET", "/help", mine))[0] == 401


async def test_a_block_is_listed_with_who_made_it_and_why_and_holds_until_it_is_lifted(live):
    until = rfc3339(now_ms() + 3_600_000)
    status, made = await do(live, "POST", "/blocks", user_id="a/b", until=until, reason=" spam \0")
    assert (status, made["admin_id"], made["admin_name"], made["reason"]) == (200, "root", "Root", "spam")
    assert (made["user_id"], made["until"]) == ("a/b", until)
    assert await get(live, "/blocks") == {"blocks": [made], "total": 1}
    assert (await live.call("GET", "/sessions", user="a/b"))[0] == 403
    for _ in range(2):
        assert (await do(live, "DELETE", "/blocks/a%2Fb"))[0] == 204
    assert (await live.call("GET", "/sessions", user="a/b"))[0] == 200
    assert (await get(live, "/blocks"))["total"] == 0


@pytest.mark.parametrize(("route", "refusal"), [("/revocations", 401), ("/blocks", 403)])
async def test_who_is_put_out_keeps_share_links_and_is_kept_from_everything_else(live, route, refusal):
    session_id = await talk(live)
    share = (await live.call("POST", f"/sessions/{session_id}/share"))[1]["share_token"]
    ahead = {"before": now_ms() / 1000 + 25} if route == "/revocations" else {}
    assert (await do(live, "POST", route, user_id="ann", **ahead))[0] == 200
    spec = (await live.call("GET", "/openapi.json", user=None))[1]["paths"]
    prefix = live.app.config.path_prefix
    asked = 0
    for path, methods in spec.items():
        for method, operation in methods.items():
            if operation.get("security"):
                place = path.removeprefix(prefix).replace("{session_id}", session_id)
                place = place.replace("{user_id}", "u").replace("{reply_id}", "r").replace("{alert_id}", "a")
                assert (await live.call(method.upper(), place, json={"name": "x"}))[0] == refusal, path
                asked += 1
    assert asked > 25
    assert (await live.call("GET", f"/shared/{share}", user=None))[0] == 200


# -- canned replies, alerts, the audit log -----------------------------------------------------------------------------


async def test_canned_replies_are_written_replaced_listed_by_title_and_removed(live):
    for reply_id, title in (("b", "zebra"), ("a", "Apple"), ("c", "Äpfel")):
        assert (await do(live, "PUT", f"/canned/{reply_id}", title=title, text=f"{title}!"))[0] == 200
    status, written = await do(live, "PUT", "/canned/b", bearer("sue", "chat_admin"), title=" beta ", text="\tB\n")
    assert (status, written["title"], written["text"], written["admin_id"]) == (200, "beta", "B", "sue")
    assert [reply["title"] for reply in (await get(live, "/canned"))["replies"]] == ["Apple", "beta", "Äpfel"]
    assert (await do(live, "DELETE", "/canned/b"))[0] == 204
    assert (await do(live, "DELETE", "/canned/b"))[0] == 404
    assert [reply["id"] for reply in (await get(live, "/canned"))["replies"]] == ["a", "c"]


async def test_there_are_only_so_many_canned_replies(live, monkeypatch):
    monkeypatch.setattr("chatbox.canned.MOST", 2)
    for reply_id in ("a", "b"):
        await do(live, "PUT", f"/canned/{reply_id}", title="t", text="t")
    status, body = await do(live, "PUT", "/canned/c", title="t", text="t")
    assert (status, body["code"]) == (409, "CONFLICT")
    assert (await do(live, "PUT", "/canned/b", title="u", text="u"))[0] == 200


async def test_written_at_once_by_several_a_canned_reply_is_one_of_theirs(live):
    texts = [f"text {number}" for number in range(8)]
    done = await asyncio.gather(*(do(live, "PUT", "/canned/same", title="t", text=text) for text in texts))
    assert {status for status, _ in done} == {200}
    (reply,) = (await get(live, "/canned"))["replies"]
    assert reply["text"] in texts


async def test_the_audit_log_is_read_page_by_page_by_member_of_staff_and_since_a_time(live):
    session_id = await talk(live)
    for number in range(5):
        await do(live, "PUT", f"/canned/r{number}", bearer("sue", "chat_admin"), title="t", text="t")
    middle = rfc3339(now_ms() + 1)
    await asyncio.sleep(0.005)
    for _ in range(3):
        await get(live, f"/sessions/{session_id}", bearer("kim", "chat_admin"))
    whole = (await get(live, "/audit"))["entries"]
    assert [entry["admin_id"] for entry in whole] == ["kim"] * 3 + ["sue"] * 5
    assert whole[0]["action"] == "read"
    assert whole[-1]["detail"] == {"reply_id": "r0"}
    found, cursor = [], {}
    while cursor is not None:
        page = await get(live, "/audit", limit=3, **cursor)
        found += page["entries"]
        cursor = {"cursor": page["next_cursor"]} if page["next_cursor"] else None
    assert found == whole
    assert (await get(live, "/audit", admin_id="sue"))["entries"] == whole[3:]
    assert (await get(live, "/audit", since=middle))["entries"] == whole[:3]


async def test_the_audit_log_is_exported_whole_as_json_lines(live, monkeypatch):
    monkeypatch.setattr("chatbox.audit.PAGE", 4)
    for number in range(11):
        await do(live, "PUT", f"/canned/r{number}", bearer("sue", "chat_admin"), title="t", text="t")
    whole = (await get(live, "/audit"))["entries"]
    status, headers, text = await ask(live, "GET", "/audit/export", bearer())
    lines = [json.loads(line) for line in text.splitlines()]
    assert (status, headers["Content-Type"]) == (200, "application/jsonl")
    assert headers["Content-Disposition"] == 'attachment; filename="audit.jsonl"'
    assert lines[1:] == whole
    assert (lines[0]["action"], lines[0]["admin_id"]) == ("export_audit", "root")
    since = (await get(live, "/audit", limit=1))["entries"][0]["time"]
    _, _, text = await ask(live, "GET", "/audit/export", bearer(), params={"since": since})
    assert len(text.splitlines()) == 2


async def test_nothing_is_done_that_the_audit_log_can_not_take(live, monkeypatch):
    session_id = await talk(live)

    async def fail(*_args, **_kwargs):
        raise StorageBusy("the disk is full")

    with monkeypatch.context() as broken:
        broken.setattr(live.app.audit._records, "add", fail)
        for method, path, body in (
            ("GET", f"/sessions/{session_id}", {}),
            ("POST", f"/takeover/{session_id}", {}),
            ("POST", "/revocations", {"user_id": "ann"}),
            ("PUT", "/canned/a", {"title": "t", "text": "t"}),
            ("GET", "/audit/export", {}),
        ):
            status, said = await do(live, method, path, **body)
            assert (status, said["code"]) == (503, "DATABASE_ERROR"), path
            assert "messages" not in said
    assert (await live.app.storage.get(session_id)).assisting_admin_id is None
    assert (await live.call("GET", "/sessions"))[0] == 200
    assert (await get(live, "/canned"))["replies"] == []


async def test_an_alert_that_could_not_be_delivered_is_shown_with_why_and_tried_again(live):
    place = Place(live)
    await place.furnish()
    (alert,) = (await get(live, "/alerts"))["alerts"]
    assert (alert["id"], alert["event"], alert["state"]) == (place.names["alert_id"], "help", "dead")
    assert alert["refused"] == {"email": {"a@b.example": "no such box"}}
    path = f"/alerts/{quote(alert['id'], safe='')}/retry"
    assert (await do(live, "POST", path))[0] == 204
    assert (await get(live, "/alerts"))["alerts"] == []
    assert (await do(live, "POST", path))[0] == 404


async def test_what_the_store_could_not_do_is_in_the_audit_log_as_such(live, monkeypatch):
    async def fail(*_args, **_kwargs):
        raise StorageBusy("the disk is full")

    monkeypatch.setattr(live.app.access, "revoke", fail)
    assert (await do(live, "POST", "/revocations", user_id="ann"))[0] == 503
    (act,) = (await get(live, "/audit"))["entries"]
    assert (act["action"], act["user_id"], act["refused"]) == ("revoke", "ann", "DATABASE_ERROR")


async def test_who_is_refused_is_told_so_even_when_the_audit_log_can_not_be_told(live, monkeypatch):
    session_id = await talk(live)
    await do(live, "POST", f"/takeover/{session_id}", bearer("sue", "chat_admin"))

    async def fail(*_args, **_kwargs):
        raise StorageBusy("the disk is full")

    monkeypatch.setattr(live.app.audit._records, "replace", fail)
    assert (await do(live, "POST", f"/takeover/{session_id}"))[0] == 409
