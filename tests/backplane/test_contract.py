"""What every backplane promises."""

import pytest

from chatbox.backplane.base import Piece, Removed, Running, Signal, Stored, Turn
from chatbox.backplane.memory import MemoryBackplane
from chatbox.errors import Fenced
from chatbox.limits import SlidingWindow
from chatbox.session import STEP
from tests.storage.values import entry

BACKPLANES = {"memory": lambda: MemoryBackplane({"frames": SlidingWindow(2, 60.0)})}


@pytest.fixture(params=BACKPLANES)
async def backplane(request):
    async with BACKPLANES[request.param]() as opened:
        yield opened


@pytest.fixture
def heard(backplane):
    events = []
    backplane.connect(lambda session_id, event: events.append((session_id, event)))
    return events


def said(index, session_id="s"):
    return entry(session_id, index=index)


async def test_events_reach_those_who_listen_and_in_order(backplane, heard):
    await backplane.listen("s")
    events = [Stored(said(1)), Signal("{}", but="me"), Removed()]
    for event in events:
        await backplane.publish("s", event)
    assert heard == [("s", event) for event in events]


async def test_events_of_other_sessions_are_not_heard(backplane, heard):
    await backplane.listen("s")
    await backplane.publish("t", Removed())
    assert heard == []


async def test_who_ignores_a_session_hears_no_more_of_it(backplane, heard):
    await backplane.listen("s")
    await backplane.listen("s")
    await backplane.ignore("s")
    await backplane.ignore("s")
    await backplane.publish("s", Removed())
    assert heard == []


async def test_events_before_anyone_is_connected_are_lost_quietly(backplane):
    await backplane.listen("s")
    await backplane.publish("s", Removed())


async def test_pieces_follow_on_the_turn_one_by_one(backplane, heard):
    await backplane.listen("s")
    turn = Turn("a", 2, 1)
    await backplane.begin("s", turn)
    await backplane.push("s", "a", "x")
    await backplane.push("s", "a", "y")
    pieces = (Piece("a", 2 * STEP + 1, "x"), Piece("a", 2 * STEP + 2, "y"))
    assert heard == [("s", turn), ("s", pieces[0]), ("s", pieces[1])]
    assert await backplane.running("s", 2) == Running(turn, pieces)


async def test_pieces_go_on_behind_an_entry_that_was_published_and_the_entry_says_after_which_piece_it_comes(
    backplane, heard
):
    await backplane.listen("s")
    await backplane.begin("s", Turn("a", 2, 1))
    await backplane.push("s", "a", "x")
    await backplane.publish("s", Stored(said(3)))
    await backplane.push("s", "a", "y")
    assert [event.seq for _, event in heard if isinstance(event, Piece)] == [2 * STEP + 1, 3 * STEP + 1]
    assert heard[2][1].after == 2 * STEP + 1


async def test_pieces_begin_behind_an_entry_that_was_published_between_the_turn_and_its_beginning(backplane, heard):
    await backplane.listen("s")
    await backplane.publish("s", Stored(said(3)))
    await backplane.begin("s", Turn("a", 2, 1))
    await backplane.push("s", "a", "x")
    assert heard[-1][1].seq == 3 * STEP + 1


async def test_who_has_read_the_log_up_to_an_entry_gets_later_pieces_behind_it(backplane, heard):
    await backplane.listen("s")
    await backplane.begin("s", Turn("a", 2, 1))
    await backplane.push("s", "a", "x")
    assert len((await backplane.running("s", 5)).pieces) == 1
    await backplane.push("s", "a", "y")
    assert heard[-1][1].seq == 5 * STEP + 1


async def test_pieces_of_another_answer_are_refused(backplane):
    with pytest.raises(Fenced):
        await backplane.push("s", "a", "x")
    await backplane.begin("s", Turn("b", 2, 1))
    with pytest.raises(Fenced):
        await backplane.push("s", "a", "x")


async def test_a_new_turn_replaces_what_an_older_one_left(backplane):
    await backplane.begin("s", Turn("a", 2, 1))
    await backplane.push("s", "a", "x")
    await backplane.begin("s", Turn("b", 4, 2))
    assert await backplane.running("s", 4) == Running(Turn("b", 4, 2), ())


async def test_a_finished_answer_is_gone_and_finishing_another_one_does_nothing(backplane):
    await backplane.begin("s", Turn("a", 2, 1))
    await backplane.finish("s", "b")
    assert await backplane.running("s", 2) is not None
    await backplane.finish("s", "a")
    await backplane.finish("s", "a")
    assert await backplane.running("s", 2) is None


async def test_a_limit_says_how_long_to_wait_and_counts_nothing_then(backplane):
    assert await backplane.hit("frames", "ann") == 0.0
    assert await backplane.hit("frames", "ann") == 0.0
    assert 0 < await backplane.hit("frames", "ann") <= 60.0
    assert await backplane.hit("frames", "bob") == 0.0
