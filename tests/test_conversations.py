"""Reading: lists, pages and what a link shows."""

import pytest

from chatbox.conversations import PAGE, Conversations
from chatbox.errors import InvalidFormat, NotFound
from chatbox.session import STEP, Change, Kind, Sender
from chatbox.storage.memory import MemoryStorage
from tests.storage.values import NOON, answer, entry, session, turn
from tests.world import principal


@pytest.fixture
def storage():
    return MemoryStorage()


@pytest.fixture
def conversations(storage):
    return Conversations(storage)


async def stored(storage, *entries, **fields):
    new = session(**fields)
    await storage.create(new)
    for one in entries or [{}]:
        await storage.append(entry(new.id, **{"timestamp": new.last_activity} | one))
    return await storage.get(new.id)


async def test_a_list_is_paged_to_its_end_newest_first(storage, conversations):
    made = [await stored(storage, last_activity=NOON + n // 2) for n in range(7)]
    await stored(storage, user_id="bob")
    seen, cursor = [], None
    for _ in range(4):
        listing = await conversations.listing(principal("ada"), q="", cursor=cursor, limit=2)
        seen += listing.sessions
        cursor = listing.cursor
    assert cursor is None
    assert seen == sorted(made, key=lambda s: (s.last_activity, s.id), reverse=True)


async def test_a_search_looks_at_names_whatever_their_case_and_is_paged_too(storage, conversations):
    for n, name in enumerate(["Straße", "Trip", "STRASSE 2", "a strasse"]):
        made = await stored(storage, last_activity=NOON + n)
        await storage.append(entry(made.id, kind=Kind.NOTIFICATION, timestamp=NOON + n), Change(name=name))
    first = await conversations.listing(principal("ada"), q="strasse", cursor=None, limit=2)
    second = await conversations.listing(principal("ada"), q="strasse", cursor=first.cursor, limit=2)
    assert [s.name for s in first.sessions + second.sessions] == ["a strasse", "STRASSE 2", "Straße"]
    assert second.cursor is None


@pytest.mark.parametrize("cursor", ["x", "eA==", "bm90YW51bWJlciBpZA==", "\u00fc", "8J+YgA"])
async def test_a_cursor_that_this_list_never_gave_is_refused(conversations, cursor):
    with pytest.raises(InvalidFormat):
        await conversations.listing(principal("ada"), q="", cursor=cursor, limit=2)


async def test_pages_go_back_to_the_start_without_a_hole(storage, conversations):
    made = await stored(storage, *[{"content": str(n)} for n in range(2 * PAGE + 5)])
    texts, before = [], None
    while True:
        page = await conversations.page(made, before)
        texts = [e.content for e in page.entries] + texts
        before = page.before
        if before is None:
            break
    assert texts == [str(n) for n in range(2 * PAGE + 5)]


async def test_a_page_of_an_empty_session_is_empty(storage, conversations):
    made = session()
    await storage.create(made)
    page = await conversations.page(made)
    assert (page.entries, page.seq, page.before) == ([], 0, None)


@pytest.mark.parametrize("meanwhile", [1, PAGE + 5])
async def test_the_newest_page_ends_where_an_unfinished_answer_began(storage, conversations, meanwhile):
    made = await stored(storage)
    await storage.append(turn(made.id, metadata={"answer_id": "a"}), Change(takes_turn="a"))
    for _ in range(meanwhile):
        await storage.append(entry(made.id))
    page = await conversations.page(await storage.get(made.id))
    assert (len(page.entries), page.seq, page.before) == (1, 2 * STEP, None)
    await storage.append(answer(made.id, message_id="a"), Change(ends_turn=True))
    stale = await conversations.page(await storage.get(made.id))
    assert stale.seq == (3 + meanwhile) * STEP


async def test_a_session_as_it_was_before_its_answer_ended_is_read_all_the_same(storage, conversations):
    made = await stored(storage)
    await storage.append(turn(made.id, metadata={"answer_id": "a"}), Change(takes_turn="a"))
    stale = await storage.get(made.id)
    await storage.append(answer(made.id, message_id="a"), Change(ends_turn=True))
    assert (await conversations.page(stale)).seq == 3 * STEP
    assert (await conversations.page(session(answer_id="lost"))).entries == []


async def test_hidden_entries_are_not_shown_and_superseded_answers_are_marked(storage, conversations):
    made = await stored(storage, {}, {"kind": Kind.SHARE})
    await storage.append(answer(made.id, message_id="old"))
    await storage.append(answer(made.id, message_id="new"), Change(supersedes="old"))
    shown = await conversations.everything(made)
    assert shown == (await conversations.page(made)).entries
    assert [e.metadata.get("superseded") for e in shown] == [None, "true", None]


async def test_everything_is_everything(storage, conversations):
    made = await stored(storage, *[{}] * 1203)
    assert len(await conversations.everything(made)) == 1203


async def test_a_link_shows_messages_only_and_staff_without_names(storage, conversations):
    made = await stored(
        storage,
        {"content": "hi", "metadata": {"page": "https://intranet"}},
        {"kind": Kind.NOTIFICATION, "metadata": {"event": "help_state"}},
        {"kind": Kind.ADMIN_JOIN, "metadata": {"admin_name": "Eve"}},
        {"content": "hello", "sender": Sender.ADMIN, "metadata": {"admin_name": "Eve", "admin_id": "7"}},
        {"kind": Kind.AI_RESPONSE, "message_id": "old", "content": "bad"},
        {"kind": Kind.AI_RESPONSE, "content": "good", "metadata": {"finish_reason": "stop", "tokens": "4"}},
    )
    await storage.append(entry(made.id, kind=Kind.SHARE), Change(share_token="token", supersedes="old"))
    _, entries = await conversations.shared("token")
    assert [(e.content, e.metadata) for e in entries] == [
        ("hi", {}),
        ("hello", {"admin_name": "Support"}),
        ("good", {"finish_reason": "stop"}),
    ]
    await storage.append(entry(made.id, kind=Kind.SHARE), Change(share_token=""))
    for token in ("token", "", "never"):
        with pytest.raises(NotFound):
            await conversations.shared(token)
