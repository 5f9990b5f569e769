"""The client's parts without a network: what waits to be sent, what waits to be read, how long to wait, whom to ask."""

from __future__ import annotations

import asyncio
import socket

import aiohttp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbox.client.backoff import FIRST, LONGEST, Backoff
from chatbox.client.endings import of_answer, of_close, of_failure, of_status, passing
from chatbox.client.events import Notice, Piece
from chatbox.client.frames import REFUSALS, Command, ErrorBody
from chatbox.client.inbox import Inbox
from chatbox.client.outgoing import AGAIN, Outgoing
from chatbox.client.tokens import Tokens
from chatbox.errors import (
    Code,
    Conflict,
    ConnectionLost,
    Ended,
    Forbidden,
    InvalidFormat,
    InvalidToken,
    NotFound,
    Refusal,
    Replaced,
    TooMany,
    TooManyPending,
    Unavailable,
)


def say(message_id):
    return Command(type="user_message", message_id=message_id)


STOP = Command(type="stop", message_id="stop")


# -- what waits to be sent ---------------------------------------------------------------------------------------------


def test_messages_go_out_one_at_a_time_in_their_order():
    outgoing = Outgoing()
    outgoing.add(say("a"))
    outgoing.add(say("b"))
    assert outgoing.due(0) == say("a")
    assert outgoing.due(0) is None
    outgoing.settle("a")
    assert outgoing.due(0) == say("b")


def test_a_stop_waits_for_nothing():
    outgoing = Outgoing()
    outgoing.add(say("a"))
    outgoing.due(0)
    outgoing.postpone("a", 100.0)
    outgoing.add(STOP)
    assert outgoing.due(0) == STOP
    assert outgoing.due(0) is None


def test_a_message_that_has_to_wait_holds_back_those_behind_it():
    outgoing = Outgoing()
    outgoing.add(say("a"))
    outgoing.add(say("b"))
    outgoing.due(0)
    outgoing.postpone("a", 5.0)
    outgoing.disconnected()
    assert outgoing.due(4.9) is None
    assert outgoing.wake_at() == 5.0
    assert outgoing.due(5.0) == say("a")


def test_after_a_lost_connection_everything_unacknowledged_is_due_again():
    outgoing = Outgoing()
    for command in (say("a"), STOP):
        outgoing.add(command)
    assert [outgoing.due(0), outgoing.due(0), outgoing.due(0)] == [STOP, say("a"), None]
    outgoing.disconnected()
    assert [outgoing.due(0), outgoing.due(0), outgoing.due(0)] == [STOP, say("a"), None]


def test_what_a_server_has_dropped_is_sent_again():
    outgoing = Outgoing()
    outgoing.add(say("a"))
    outgoing.due(0)
    assert outgoing.wake_at() == AGAIN
    assert outgoing.due(AGAIN) == say("a")
    outgoing.settle("a")
    assert outgoing.wake_at() is None


def test_too_much_waiting_is_refused_and_what_waits_stays():
    outgoing = Outgoing(limit=1)
    outgoing.add(say("a"))
    with pytest.raises(TooManyPending):
        outgoing.add(say("b"))
    assert len(outgoing) == 1
    assert outgoing.settle("b") is None


@given(st.lists(st.sampled_from(["ack", "lost", "wait", "send"]), max_size=40))
def test_whatever_happens_messages_are_settled_in_their_order(happenings):
    outgoing, waiting, settled, sent, now = Outgoing(), [f"{n}" for n in range(5)], [], [], 0.0
    for message_id in waiting:
        outgoing.add(say(message_id))
    for happening in happenings:
        now += 1.0
        sent += [command.message_id for command in iter(lambda now=now: outgoing.due(now), None)]
        if happening == "lost":
            outgoing.disconnected()
        elif sent and happening == "ack" and outgoing.settle(sent[-1]):
            settled.append(sent[-1])
        elif sent and happening == "wait" and outgoing.get(sent[-1]):
            outgoing.postpone(sent[-1], now + 2)
    assert settled == waiting[: len(settled)]


# -- what waits to be read ---------------------------------------------------------------------------------------------


async def test_neighbouring_pieces_of_an_answer_are_read_as_one():
    inbox = Inbox()
    for piece in (Piece("a", "one "), Piece("a", "two"), Piece("b", "three")):
        inbox.put(piece)
    assert len(inbox) == 2
    assert [await inbox.get(), await inbox.get()] == [Piece("a", "one two"), Piece("b", "three")]


async def test_a_full_inbox_has_no_room_until_half_of_it_was_read():
    inbox = Inbox(limit=4)
    for number in range(4):
        inbox.put(Notice(event=str(number)))
    room = asyncio.ensure_future(inbox.room())
    await inbox.get()
    await asyncio.sleep(0)
    assert not room.done()
    await inbox.get()
    await room


async def test_a_stopped_inbox_gives_what_it_has_and_then_nothing():
    inbox = Inbox()
    waiting = asyncio.ensure_future(inbox.get())
    await asyncio.sleep(0)
    inbox.put(Notice(event="last"))
    inbox.stop()
    assert await waiting == Notice(event="last")
    assert await inbox.get() is None


# -- how long to wait --------------------------------------------------------------------------------------------------


def test_waits_grow_to_a_limit_and_start_over_after_a_connection_that_held():
    backoff = Backoff()
    waits = [max(backoff.next(None) for _ in range(1)) for _ in range(40)]
    assert all(wait <= min(LONGEST, FIRST * 2**number) for number, wait in enumerate(waits))
    assert max(waits) > LONGEST / 4
    backoff.held()
    assert backoff.next(None) <= FIRST


def test_what_the_server_asks_for_is_waited_at_least():
    assert all(Backoff().next(5.0) >= 5.0 for _ in range(20))


# -- what the ends mean ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1000, Ended),
        (4401, InvalidToken),
        (4403, Forbidden),
        (4409, Replaced),
        (1009, InvalidFormat),
        (1008, InvalidFormat),
        (1003, InvalidFormat),
        *[(code, ConnectionLost) for code in (1001, 1006, 1011, 1012, 4408, None)],
    ],
)
def test_every_close_code_has_its_meaning(code, kind):
    assert type(of_close(code)) is kind


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, InvalidToken), (403, Forbidden), (404, NotFound), (421, NotFound), (429, ConnectionLost),
     (500, ConnectionLost), (502, ConnectionLost), (503, ConnectionLost)],
)  # fmt: skip
def test_every_refused_handshake_has_its_meaning(status, kind):
    assert type(of_status(status, None)) is kind


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 9)"), "connection refused"),
        (socket.gaierror(-2, "Name or service not known"), "name or service not known"),
        (TimeoutError(), "timed out"),
        (aiohttp.ServerDisconnectedError(), "Server disconnected"),
        (aiohttp.ClientError(), "ClientError"),
    ],
)
def test_what_keeps_a_server_from_being_reached_is_told_in_plain_words(error, words):
    assert str(of_failure(error)) == f"no answer from the server ({words})"


def test_the_wait_that_a_handshake_asks_for_is_kept():
    assert of_status(503, "7").wait == 7.0
    assert of_status(503, "Wed, 21 Oct").wait is None


def test_errors_of_the_server_are_raised_as_the_same_types():
    assert set(REFUSALS) <= set(Code)
    refusal = ErrorBody("TOO_MANY_REQUESTS", "wait", retry_after=5).refusal
    assert (type(refusal), refusal.message, refusal.retry_after) == (TooMany, "wait", 5)
    assert type(ErrorBody("SOMETHING_NEW", "?").refusal) is Refusal


def test_a_refusal_on_the_way_to_a_connection_is_waited_out_as_asked():
    lost = passing(TooMany("wait", retry_after=1500))
    assert (str(lost), lost.wait) == ("wait", 1.5)
    assert passing(Unavailable("down")).wait is None


def test_an_http_error_without_a_known_body_is_told_by_its_status():
    assert type(of_answer(409, Conflict("no"))) is Conflict
    assert type(of_answer(401, Refusal(""))) is InvalidToken
    assert type(of_answer(502, Refusal(""))) is Unavailable


# -- tokens ------------------------------------------------------------------------------------------------------------


async def test_a_source_is_asked_once_for_all_who_need_a_token():
    asked = []

    async def source():
        await asyncio.sleep(0)
        asked.append(1)
        return f"token {len(asked)}"

    tokens = Tokens(source)
    assert await asyncio.gather(tokens.current(), tokens.current()) == ["token 1"] * 2
    assert await asyncio.gather(tokens.after("token 1"), tokens.after("token 1")) == ["token 2"] * 2
    assert await tokens.current() == "token 2"


async def test_a_token_that_is_all_there_is_can_not_be_replaced():
    tokens = Tokens("only")
    assert not tokens.renewable
    with pytest.raises(InvalidToken):
        await tokens.after("only")


@pytest.mark.parametrize("error", [OSError("down"), TimeoutError(), aiohttp.ClientError("reset")])
async def test_an_app_that_can_not_be_reached_is_asked_again_later(error):
    async def source():
        raise error

    with pytest.raises(ConnectionLost, match="no token"):
        await Tokens(source).current()
