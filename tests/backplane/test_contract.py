"""What every backplane promises, with three replicas on it."""

import asyncio

import pytest

from chatbox.backplane.base import Grant, Joined, Piece, Removed, Running, Signal, Stored, Turn
from chatbox.errors import Fenced
from chatbox.session import STEP
from tests.backplane.replicas import Replica, all_heard
from tests.storage.values import entry


def said(index, session_id="s"):
    return entry(session_id, index=index, message_id=f"message {index}")


async def listening(replicas, session_id="s"):
    for replica in replicas:
        await replica.plane.listen(session_id)


async def begun(replica, turn, session_id="s"):
    """A running answer."""
    assert await replica.plane.acquire(session_id, turn.answer_id) is Grant.SURE
    await replica.plane.begin(session_id, turn)
    return turn


async def test_events_reach_every_listening_replica_in_the_order_in_which_they_were_told(replicas):
    first, second, _ = replicas
    await listening([first, second])
    events = [
        Stored(said(1)),
        Signal("{}", but="me"),
        Joined("tab", 1_790_000_000_000_000_000),
        Stored(said(2)),
        Removed(),
    ]
    for event in events:
        await first.plane.publish("s", event)
    await all_heard(*replicas)
    assert [replica.events() for replica in replicas] == [events, events, []]


async def test_events_are_heard_by_the_replica_that_tells_them_when_publish_returns(replicas):
    await replicas[0].plane.listen("s")
    await replicas[0].plane.publish("s", Stored(said(1)))
    assert replicas[0].events() == [Stored(said(1))]


async def test_entries_arrive_whole(replicas):
    await listening(replicas)
    named = {"model_id": "m", "file_id": "f", "file_url": "u", "metadata": {"a": "b"}, "superseded": True}
    full = entry("s", index=4, content="ünï\n\x00|" * 9, **named)
    await replicas[0].plane.publish("s", Stored(full))
    await all_heard(*replicas)
    assert [replica.events() for replica in replicas] == [[Stored(full)]] * 3


async def test_events_of_other_sessions_are_not_heard(replicas):
    await listening(replicas)
    await replicas[0].plane.publish("t", Removed())
    await all_heard(*replicas)
    assert [replica.heard for replica in replicas] == [[], [], []]


async def test_who_ignores_a_session_hears_no_more_of_it(replicas):
    await listening(replicas)
    await listening(replicas)
    await replicas[1].plane.ignore("s")
    await replicas[1].plane.ignore("s")
    await replicas[2].plane.ignore("never listened to")
    await replicas[0].plane.publish("s", Removed())
    await all_heard(*replicas)
    assert [replica.events() for replica in replicas] == [[Removed()], [], [Removed()]]


async def test_who_listens_again_hears_again(replicas):
    await listening(replicas)
    await replicas[1].plane.ignore("s")
    await replicas[1].plane.listen("s")
    await replicas[0].plane.publish("s", Removed())
    await all_heard(*replicas)
    assert replicas[1].events() == [Removed()]


async def test_events_before_anyone_is_connected_are_lost_quietly(make_plane):
    async with make_plane() as plane:
        await plane.listen("s")
        await plane.publish("s", Removed())


async def test_a_replica_that_has_left_is_missed_by_nobody(make_plane, replicas):
    async with make_plane() as plane:
        gone = Replica(plane)
        await plane.listen("s")
    await listening(replicas)
    await replicas[0].plane.publish("s", Removed())
    await all_heard(*replicas)
    assert gone.heard == []
    assert replicas[1].events() == [Removed()]


# -- pieces ------------------------------------------------------------------------------------------------------------


async def test_pieces_follow_on_the_turn_one_by_one_and_can_be_read_anywhere(replicas):
    await listening(replicas)
    turn = await begun(replicas[0], Turn("a", 2, 1, replaces="z"))
    await replicas[0].plane.push("s", "a", "x")
    await replicas[0].plane.push("s", "a", "yöur\n|")
    pieces = (Piece("a", 2 * STEP + 1, "x"), Piece("a", 2 * STEP + 2, "yöur\n|"))
    await all_heard(*replicas)
    for replica in replicas:
        assert replica.events() == [turn, *pieces]
        assert await replica.plane.running("s", 2) == Running(turn, pieces)


async def test_a_turn_without_pieces_is_running(replicas):
    turn = await begun(replicas[0], Turn("a", 2, 1))
    assert [await replica.plane.running("s", 2) for replica in replicas] == [Running(turn, ())] * 3


async def test_nothing_runs_where_nothing_has_begun(replicas):
    assert await replicas[0].plane.running("s", 0) is None
    assert await replicas[1].plane.acquire("s", "a") is Grant.SURE
    assert await replicas[2].plane.running("s", 7) is None


@pytest.mark.parametrize("teller", [0, 1], ids=["here", "on another replica"])
async def test_pieces_go_on_behind_an_entry_that_was_told_and_the_entry_says_after_which_piece_it_comes(
    replicas, teller
):
    await listening(replicas)
    await begun(replicas[0], Turn("a", 2, 1))
    await replicas[0].plane.push("s", "a", "x")
    await all_heard(*replicas)
    await replicas[teller].plane.publish("s", Stored(said(3)))
    await all_heard(*replicas)
    await replicas[0].plane.push("s", "a", "y")
    await all_heard(*replicas)
    for replica in replicas:
        assert replica.events()[2:] == [Stored(said(3), after=2 * STEP + 1), Piece("a", 3 * STEP + 1, "y")]
        assert replica.pieces()[0].seq == 2 * STEP + 1


async def test_pieces_begin_behind_an_entry_that_was_told_between_the_turn_and_its_beginning(replicas):
    await listening(replicas)
    await replicas[1].plane.publish("s", Stored(said(3)))
    await begun(replicas[0], Turn("a", 2, 1))
    await replicas[0].plane.push("s", "a", "x")
    assert replicas[0].pieces() == [Piece("a", 3 * STEP + 1, "x")]


@pytest.mark.parametrize("reader", [0, 1], ids=["here", "on another replica"])
async def test_who_has_read_the_log_up_to_an_entry_gets_later_pieces_behind_it(replicas, reader):
    await listening(replicas)
    await begun(replicas[0], Turn("a", 2, 1))
    await replicas[0].plane.push("s", "a", "x")
    assert len((await replicas[reader].plane.running("s", 5)).pieces) == 1
    await replicas[0].plane.push("s", "a", "y")
    assert replicas[0].pieces()[-1].seq == 5 * STEP + 1


async def test_an_entry_that_comes_late_moves_no_position_back(replicas):
    await listening(replicas)
    await begun(replicas[0], Turn("a", 5, 1))
    await replicas[1].plane.publish("s", Stored(said(3)))
    await replicas[0].plane.push("s", "a", "x")
    assert replicas[0].pieces() == [Piece("a", 5 * STEP + 1, "x")]


async def test_pieces_of_many_answers_at_once_keep_their_order_everywhere(replicas):
    sessions = [f"s{number}" for number in range(12)]
    for session_id in sessions:
        await listening(replicas, session_id)

    async def answer(session_id, replica):
        await begun(replica, Turn("a", 1, 1), session_id)
        for number in range(40):
            await replica.plane.push(session_id, "a", str(number))

    await asyncio.gather(*[answer(session_id, replicas[n % 3]) for n, session_id in enumerate(sessions)])
    await all_heard(*replicas)
    for session_id in sessions:
        expected = [Piece("a", STEP + 1 + number, str(number)) for number in range(40)]
        assert [replica.pieces(session_id) for replica in replicas] == [expected] * 3
        assert (await replicas[0].plane.running(session_id, 1)).pieces == tuple(expected)


async def test_a_new_turn_replaces_what_an_older_one_left(replicas):
    await begun(replicas[0], Turn("a", 2, 1))
    await replicas[0].plane.push("s", "a", "x")
    await replicas[0].plane.finish("s", "a", stored=False)
    turn = await begun(replicas[1], Turn("b", 4, 2))
    assert [await replica.plane.running("s", 4) for replica in replicas] == [Running(turn, ())] * 3


async def test_a_stored_answer_is_gone_and_finishing_another_one_changes_nothing(replicas):
    turn = await begun(replicas[0], Turn("a", 2, 1))
    await replicas[0].plane.finish("s", "b")
    await replicas[1].plane.finish("s", "c")
    assert await replicas[2].plane.running("s", 2) == Running(turn, ())
    await replicas[0].plane.push("s", "a", "x")
    await replicas[0].plane.finish("s", "a")
    await replicas[0].plane.finish("s", "a")
    assert [await replica.plane.running("s", 2) for replica in replicas] == [None] * 3


async def test_an_answer_that_was_not_stored_stays_to_be_seen_until_someone_else_has_stored_it(replicas):
    turn = await begun(replicas[0], Turn("a", 2, 1))
    await replicas[0].plane.push("s", "a", "x")
    await replicas[0].plane.finish("s", "a", stored=False)
    left = Running(turn, (Piece("a", 2 * STEP + 1, "x"),))
    assert [await replica.plane.running("s", 2) for replica in replicas] == [left] * 3
    assert await replicas[1].plane.acquire("s", "settle") is Grant.SURE
    await replicas[1].plane.finish("s", "a")
    await replicas[1].plane.finish("s", "settle")
    assert await replicas[2].plane.running("s", 2) is None


# -- leases ------------------------------------------------------------------------------------------------------------


async def test_one_answer_at_a_time_has_the_lease_and_the_next_one_gets_it_when_that_is_finished(replicas):
    first, second, third = (replica.plane for replica in replicas)
    assert await first.acquire("s", "a") is Grant.SURE
    assert await first.acquire("s", "a") is Grant.SURE
    assert [await plane.acquire("s", "b") for plane in (first, second, third)] == [None] * 3
    assert await second.acquire("another session", "b") is Grant.SURE
    await second.finish("s", "b")
    assert await second.acquire("s", "b") is None
    await first.finish("s", "a")
    assert await second.acquire("s", "b") is Grant.SURE
    assert await first.acquire("s", "a") is None


async def test_of_many_who_want_the_lease_at_once_one_gets_it(replicas):
    grants = await asyncio.gather(
        *[replicas[number % 3].plane.acquire("s", f"answer {number}") for number in range(30)]
    )
    assert sorted(grants, key=str) == [None] * 29 + [Grant.SURE]


async def test_pieces_without_the_lease_are_refused(replicas):
    await listening(replicas)
    with pytest.raises(Fenced):
        await replicas[0].plane.push("s", "a", "never acquired")
    await begun(replicas[1], Turn("b", 2, 1))
    for replica in replicas:
        with pytest.raises(Fenced):
            await replica.plane.push("s", "a", "not the answer that runs")
    await replicas[1].plane.finish("s", "b")
    with pytest.raises(Fenced):
        await replicas[1].plane.push("s", "b", "finished")
    await all_heard(*replicas)
    assert not any(replica.pieces() for replica in replicas)


async def test_pieces_of_an_answer_that_has_not_begun_are_refused(replicas):
    assert await replicas[0].plane.acquire("s", "a") is Grant.SURE
    with pytest.raises(Fenced):
        await replicas[0].plane.push("s", "a", "x")


async def test_a_replica_that_leaves_gives_its_leases_up_and_leaves_its_answers_to_be_seen(make_plane, replicas):
    async with make_plane() as plane:
        turn = await begun(Replica(plane), Turn("a", 2, 1))
        await plane.push("s", "a", "x")
        assert await replicas[0].plane.acquire("s", "b") is None
    assert await replicas[0].plane.acquire("s", "b") is Grant.SURE
    assert await replicas[0].plane.running("s", 2) == Running(turn, (Piece("a", 2 * STEP + 1, "x"),))


async def test_all_is_well(replicas):
    for replica in replicas:
        await replica.plane.check()
