"""What every store does, whatever it keeps its rows in."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from chatbox.errors import Fenced, NotFound, StorageError
from chatbox.session import Change, Help, Kind, Session, day_of, new_id
from chatbox.storage.base import Partial, SessionQuery, Storage
from tests.storage.values import NOON, answer, entry, session, turn


async def started(storage: Storage, **fields: object) -> Session:
    """A session with one message, which is its user's active one."""
    new = session(**fields)
    await storage.create(new)
    message = entry(new.id, content="Hello", timestamp=new.last_activity)
    return (await storage.append(message, Change(active=True))).session


async def answering(storage: Storage, **fields: object) -> Session:
    """A session whose answer is running."""
    new = await started(storage, **fields)
    return (await storage.append(turn(new.id), Change(takes_turn="answer"))).session


async def test_a_new_session_is_found_by_its_id_and_is_in_no_list(storage: Storage) -> None:
    new = session(user_name="Ada Lovelace", context={"page": "/pricing"})
    assert await storage.create(new) == new
    assert await storage.get(new.id) == new
    assert await storage.find(SessionQuery()) == []
    assert await storage.find(SessionQuery(empty=True)) == [new]


async def test_an_id_is_given_to_one_session_only(storage: Storage) -> None:
    first = await started(storage)
    with pytest.raises(StorageError):
        await storage.create(session(id=first.id, user_id="eve"))
    assert await storage.get(first.id) == first


async def test_a_user_has_one_session_without_entries(storage: Storage) -> None:
    first = await storage.create(session(user_name="Ada", context={"page": "/"}))
    assert await storage.create(session()) == await storage.create(first) == first
    assert await storage.find(SessionQuery(empty=True)) == [first]
    other = await storage.create(session(user_id="bob"))
    await storage.append(entry(first.id), Change(active=True))
    second = await storage.create(session())
    assert len({first.id, second.id, other.id}) == 3


async def test_sessions_made_at_once_for_a_user_are_one(storage: Storage) -> None:
    await started(storage)
    made = await asyncio.gather(*(storage.create(session()) for _ in range(8)))
    assert [made[0]] * 8 == made
    assert await storage.find(SessionQuery(empty=True)) == [made[0]]


async def test_a_session_whose_first_entry_comes_while_another_is_made_is_one_of_the_two(storage: Storage) -> None:
    for _ in range(10):
        first = await storage.create(session())
        second, _ = await asyncio.gather(storage.create(session()), storage.append(entry(first.id)))
        found = await storage.find(SessionQuery(empty=True))
        assert found == ([] if second.id == first.id else [second])


async def test_what_does_not_exist_is_none_or_not_found(storage: Storage) -> None:
    assert await storage.get("nothing") is None
    assert await storage.partial("nothing") is None
    assert await storage.read("nothing") == []
    assert await storage.usage("nobody", "2026-11-21") == 0
    with pytest.raises(NotFound):
        await storage.append(entry("nothing"))
    with pytest.raises(NotFound):
        await storage.keep(Partial("nothing", "answer", 1, "text"))
    await storage.delete("nothing")


async def test_entries_get_the_next_positions_and_are_read_in_their_order(storage: Storage) -> None:
    new = await started(storage)
    later = [await storage.append(entry(new.id, content=text)) for text in ("one", "two", "three")]
    assert [appended.entry.index for appended in later] == [2, 3, 4]
    assert [found.content for found in await storage.read(new.id)] == ["Hello", "one", "two", "three"]
    assert [appended.session.last_index for appended in later] == [2, 3, 4]
    assert await storage.get(new.id) == later[-1].session


async def test_callers_at_once_get_positions_without_holes_and_each_in_its_own_order(storage: Storage) -> None:
    new = session()
    await storage.create(new)

    async def caller(name: str) -> list[int]:
        appended = [await storage.append(entry(new.id, message_id=f"{name}{number}")) for number in range(20)]
        return [one.entry.index for one in appended]

    indexes = await asyncio.gather(*(caller(name) for name in "abcdefgh"))
    assert all(own == sorted(own) for own in indexes)
    assert sorted(index for own in indexes for index in own) == list(range(1, 161))
    assert [found.index for found in await storage.read(new.id)] == list(range(1, 161))


async def test_the_same_id_again_stores_nothing_and_gives_the_first_entry(storage: Storage) -> None:
    new = await started(storage)
    message = entry(new.id, content="first", metadata={"lang": "en"})
    first = await storage.append(message, Change(tokens=3))
    again = await storage.append(replace(message, content="other"), Change(tokens=3, name="other"))
    assert (first.fresh, again.fresh) == (True, False)
    assert again.entry == first.entry
    assert again.session == first.session == await storage.get(new.id)


async def test_the_same_id_at_once_is_stored_once(storage: Storage) -> None:
    new = await started(storage)
    message = entry(new.id)
    appended = await asyncio.gather(*(storage.append(message) for _ in range(10)))
    assert sum(one.fresh for one in appended) == 1
    assert {one.entry.index for one in appended} == {2}


async def test_the_same_id_in_another_session_is_another_message(storage: Storage) -> None:
    one, other = await started(storage), await started(storage)
    assert (await storage.append(entry(one.id, message_id="same"))).fresh
    assert (await storage.append(entry(other.id, message_id="same"))).fresh


async def test_a_page_is_cut_from_the_start_or_from_the_end(storage: Storage) -> None:
    new = session()
    await storage.create(new)
    for _ in range(10):
        await storage.append(entry(new.id))

    async def indexes(**page: int) -> list[int]:
        return [found.index for found in await storage.read(new.id, **page)]

    assert await indexes(limit=3) == [1, 2, 3]
    assert await indexes(after=3, limit=3) == [4, 5, 6]
    assert await indexes(after=8) == [9, 10]
    assert await indexes(before=5) == [1, 2, 3, 4]
    assert await indexes(before=5, limit=2) == [3, 4]
    assert await indexes(after=2, before=5) == [3, 4]
    assert await indexes(before=100, limit=2) == [9, 10]
    assert await indexes(before=1) == await indexes(before=0) == await indexes(after=10) == []


async def test_an_answer_is_appended_by_who_shows_its_fence(storage: Storage) -> None:
    running = await answering(storage)
    assert (running.fence, running.answer_id) == (1, "answer")
    ended = await storage.append(answer(running.id), Change(ends_turn=True), fence=1)
    assert (ended.session.fence, ended.session.answer_id) == (1, None)


@pytest.mark.parametrize("fence", [0, 2])
async def test_a_writer_with_another_fence_is_refused(storage: Storage, fence: int) -> None:
    running = await answering(storage)
    with pytest.raises(Fenced):
        await storage.append(answer(running.id), Change(ends_turn=True), fence=fence)
    assert await storage.get(running.id) == running


async def test_a_writer_is_refused_after_its_turn_has_ended(storage: Storage) -> None:
    running = await answering(storage)
    last = answer(running.id)
    stored = await storage.append(last, Change(ends_turn=True), fence=1)
    with pytest.raises(Fenced):
        await storage.append(answer(running.id), Change(ends_turn=True), fence=1)
    again = await storage.append(last, Change(ends_turn=True), fence=1)
    assert (again.fresh, again.entry) == (False, stored.entry)


async def test_one_answer_runs_at_a_time(storage: Storage) -> None:
    running = await answering(storage)
    with pytest.raises(Fenced):
        await storage.append(turn(running.id), Change(takes_turn="other"))
    assert await storage.get(running.id) == running


async def test_a_turn_is_not_given_to_who_has_not_seen_the_one_before(storage: Storage) -> None:
    running = await answering(storage)
    ended = (await storage.append(answer(running.id), Change(ends_turn=True), fence=1)).session
    with pytest.raises(Fenced):
        await storage.append(turn(running.id), Change(takes_turn="other"), fence=0)
    taken = (await storage.append(turn(running.id), Change(takes_turn="other"), fence=ended.fence)).session
    assert (taken.fence, taken.answer_id) == (ended.fence + 1, "other")


async def test_a_session_in_which_something_was_said_since_is_not_deleted(storage: Storage) -> None:
    empty, used = session(user_id="ann"), await started(storage, user_id="bob")
    await storage.create(empty)
    assert not await storage.delete(used.id, last_index=0)
    assert not await storage.delete(empty.id, last_index=1)
    assert await storage.get(used.id) == used
    assert await storage.get(empty.id) == empty
    assert await storage.delete(used.id, last_index=1)
    assert await storage.delete(empty.id, last_index=0)
    assert [await storage.get(one.id) for one in (used, empty)] == [None, None]
    assert await storage.delete(empty.id, last_index=0)


async def test_of_turns_taken_at_once_one_is_given(storage: Storage) -> None:
    new = await started(storage)
    taken = await asyncio.gather(
        *(storage.append(turn(new.id), Change(takes_turn=f"answer{number}")) for number in range(8)),
        return_exceptions=True,
    )
    assert sum(isinstance(one, Fenced) for one in taken) == 7
    assert len(await storage.read(new.id)) == 2


async def test_the_text_of_a_running_answer_is_kept_until_it_is_stored(storage: Storage) -> None:
    running = await answering(storage)
    for text in ("Par", "Paris is"):
        await storage.keep(Partial(running.id, "answer", 1, text))
    assert await storage.partial(running.id) == Partial(running.id, "answer", 1, "Paris is")
    await storage.append(answer(running.id), Change(ends_turn=True), fence=1)
    assert await storage.partial(running.id) is None


@pytest.mark.parametrize(("answer_id", "fence"), [("answer", 0), ("answer", 2), ("other", 1)])
async def test_only_the_running_answer_keeps_its_text(storage: Storage, answer_id: str, fence: int) -> None:
    running = await answering(storage)
    with pytest.raises(Fenced):
        await storage.keep(Partial(running.id, answer_id, fence, "text"))
    assert await storage.partial(running.id) is None


async def test_a_replaced_answer_is_marked_and_stays(storage: Storage) -> None:
    new = await started(storage)
    old = (await storage.append(answer(new.id, content="old"))).entry
    await storage.append(answer(new.id, content="new"), Change(supersedes=old.message_id))
    _, first, second = await storage.read(new.id)
    assert first == replace(old, superseded=True)
    assert not second.superseded


async def test_writing_in_a_session_moves_the_mark_and_closes_the_others_period(storage: Storage) -> None:
    first = await started(storage)
    await storage.append(entry(first.id, timestamp=NOON + 5_000))
    second = session(last_activity=NOON)
    await storage.create(second)
    moved = await storage.append(entry(second.id, timestamp=NOON + 60_000), Change(active=True))
    assert moved.closed == (first.id,)
    left = await storage.get(first.id)
    assert left is not None
    assert (left.is_active, left.end_time, left.duration_ms) == (False, NOON + 5_000, 5_000)
    assert await storage.find(SessionQuery(user_id="ada", active=True)) == [moved.session]


async def test_the_mark_of_another_user_stays(storage: Storage) -> None:
    other = await started(storage, user_id="bob")
    own = await storage.append(entry((await started(storage)).id), Change(active=True))
    assert own.closed == ()
    assert await storage.get(other.id) == other


async def test_an_ended_session_is_reopened_by_the_next_message(storage: Storage) -> None:
    new = await started(storage)
    ended = (await storage.append(entry(new.id, kind=Kind.NOTIFICATION), Change(active=False))).session
    assert (ended.is_active, ended.end_time) == (False, NOON)
    again = await storage.append(entry(new.id, timestamp=NOON + 9_000), Change(active=True))
    assert (again.session.is_active, again.session.opened_at, again.session.end_time) == (True, NOON + 9_000, None)


async def test_sessions_are_listed_by_last_activity_with_ties_by_id(storage: Storage) -> None:
    ids = ("a", "c", "b", "d")
    for at, name in zip((NOON, NOON, NOON, NOON + 1), ids, strict=True):
        await started(storage, id=name, last_activity=at)
    assert [found.id for found in await storage.find(SessionQuery())] == ["d", "c", "b", "a"]
    page = await storage.find(SessionQuery(limit=2))
    rest = await storage.find(SessionQuery(before=(page[-1].last_activity, page[-1].id)))
    assert [found.id for found in rest] == ["b", "a"]


async def test_a_query_gives_those_that_match_in_every_respect(storage: Storage) -> None:
    idle = await started(storage, user_id="bob")
    running = await answering(storage)
    await storage.create(empty := session(user_id="bob"))

    async def ids(**query: object) -> set[str]:
        return {found.id for found in await storage.find(SessionQuery(**query))}

    assert await ids() == {idle.id, running.id}
    assert await ids(empty=None) == {idle.id, running.id, empty.id}
    assert await ids(user_id="bob") == await ids(answering=False) == {idle.id}
    assert await ids(answering=True) == {running.id}
    assert await ids(active=True) == {idle.id, running.id}
    assert await ids(active=False, empty=None) == {empty.id}
    assert await ids(idle_since=NOON) == set()
    assert await ids(idle_since=NOON + 1, user_id="ada") == {running.id}


async def test_a_share_link_finds_its_session_until_it_is_revoked(storage: Storage) -> None:
    new = await started(storage)
    token = new_id()
    shared = await storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=token))
    assert shared.session.share_token == token
    assert await storage.find(SessionQuery(share_token=token)) == [shared.session]
    assert await storage.find(SessionQuery(share_token=new_id())) == []
    revoked = await storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=""))
    assert revoked.session.share_token is None
    assert await storage.find(SessionQuery(share_token=token)) == []


async def test_of_share_links_made_at_once_the_first_stays_until_it_is_revoked(storage: Storage) -> None:
    new, tokens = await started(storage), [new_id() for _ in range(5)]
    share = (storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=token)) for token in tokens)
    shared = await asyncio.gather(*share)
    kept = shared[0].session.share_token
    assert kept in tokens
    assert {one.session.share_token for one in shared} == {kept}
    for token in tokens:
        found = await storage.find(SessionQuery(share_token=token))
        assert [one.id for one in found] == ([new.id] if token == kept else [])
    await storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=""))
    again = await storage.append(entry(new.id, kind=Kind.SHARE), Change(share_token=tokens[-1]))
    assert again.session.share_token == tokens[-1]
    assert await storage.find(SessionQuery(share_token=tokens[-1])) == [again.session]


async def test_what_is_deleted_is_gone_but_for_the_tokens_it_used(storage: Storage) -> None:
    running = await answering(storage)
    await storage.keep(Partial(running.id, "answer", 1, "text"))
    await storage.append(answer(running.id, message_id="reply"), Change(tokens=7))
    await storage.delete(running.id)
    await storage.delete(running.id)
    assert await storage.get(running.id) is None
    assert await storage.partial(running.id) is None
    assert await storage.read(running.id) == []
    assert await storage.usage("ada", day_of(NOON)) == 7
    await storage.create(running)
    assert await storage.read(running.id) == []


async def test_tokens_are_counted_by_user_and_utc_day(storage: Storage) -> None:
    day = 24 * 3600 * 1000
    midnight = NOON - NOON % day
    new = await started(storage)
    for at, tokens in ((midnight - 1, 1), (midnight, 10), (midnight + day - 1, 100), (midnight + day, 1000)):
        await storage.append(answer(new.id, timestamp=at), Change(tokens=tokens))
    assert [await storage.usage("ada", day_of(midnight + days * day)) for days in (-1, 0, 1)] == [1, 110, 1000]
    assert await storage.usage("bob", day_of(midnight)) == 0


async def test_a_refused_call_changes_nothing(storage: Storage) -> None:
    running = await answering(storage)
    everything = Change(name="New name", tokens=5, takes_turn="other", supersedes=running.id, share_token="token")
    with pytest.raises(Fenced):
        await storage.append(entry(running.id), everything)
    assert await storage.get(running.id) == running
    assert len(await storage.read(running.id)) == 2
    assert await storage.usage("ada", day_of(NOON)) == 0


async def test_a_call_that_fails_leaves_its_neighbours_alone(storage: Storage) -> None:
    new = await started(storage)
    calls = [storage.append(entry(new.id)), storage.append(entry("nothing")), storage.append(entry(new.id), fence=9)]
    results = await asyncio.gather(*calls, storage.append(entry(new.id)), return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["Appended", "NotFound", "Fenced", "Appended"]
    assert [found.index for found in await storage.read(new.id)] == [1, 2, 3]


async def test_a_cancelled_append_is_found_out_by_repeating_it(storage: Storage) -> None:
    new = await started(storage)
    messages = [entry(new.id) for _ in range(20)]
    calls = [asyncio.ensure_future(storage.append(message)) for message in messages]
    await asyncio.sleep(0)
    for call in calls[::2]:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    again = [await storage.append(message) for message in messages]
    assert not any(one.fresh for one in again[1::2])
    assert sorted(one.entry.index for one in again) == list(range(2, 22))
    assert len(await storage.read(new.id)) == 21


async def test_help_that_was_asked_for_stays_known(storage: Storage) -> None:
    new = await started(storage)
    for state in (Help.ASKED, Help.NONE):
        await storage.append(entry(new.id, kind=Kind.NOTIFICATION), Change(help_state=state))
    stored = await storage.get(new.id)
    assert stored is not None
    assert (stored.help_state, stored.help_requested) == (Help.NONE, True)


async def test_a_healthy_store_says_so_any_number_of_times(storage: Storage) -> None:
    for _ in range(3):
        await storage.check()


async def test_texts_of_many_answers_are_kept_at_once_and_that_of_an_answer_that_ended_is_refused(
    storage: Storage,
) -> None:
    running = [await answering(storage, user_id=f"user{number}") for number in range(4)]
    for words in ("one", "one two"):
        await asyncio.gather(*[storage.keep(Partial(one.id, "answer", one.fence, words)) for one in running])
    over = running.pop()
    await storage.append(answer(over.id), Change(ends_turn=True), fence=over.fence)
    kept = [storage.keep(Partial(one.id, "answer", one.fence, "one two three")) for one in (*running, over)]
    outcomes = await asyncio.gather(*kept, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [*[type(None)] * 3, Fenced]
    texts = [await storage.partial(one.id) for one in (*running, over)]
    assert [text and text.content for text in texts] == [*["one two three"] * 3, None]
