"""SMS through Twilio's API. The stand-in first serves Twilio's own SDK."""

import asyncio

import pytest
from twilio.base.exceptions import TwilioRestException
from twilio.http.http_client import TwilioHttpClient
from twilio.rest import Client

from chatbox.notify import sms
from chatbox.notify.base import Alert, Event
from chatbox.notify.sms import SmsChannel, refusal, text_of
from chatbox.notify.words import message_of
from tests.notify.twilio_peer import ACCOUNT, SENDER, TOKEN, twilio_peer

TO = "+4915112345678"
HELP = message_of(
    Alert(id="help:s:1", event=Event.HELP, at=1_790_000_000_000, session_id="s", user_id="u", user_name="Ann"),
    "https://chat.example.com/chatbox/",
)


class Here(TwilioHttpClient):
    """The SDK's own client, told that Twilio is at another address."""

    def __init__(self, base):
        super().__init__(pool_connections=False)
        self.base = base

    def request(self, method, url, *args, **kwargs):
        return super().request(method, url.replace("https://api.twilio.com", self.base), *args, **kwargs)


def sdk(base, token=TOKEN):
    return Client(ACCOUNT, token, http_client=Here(base))


async def asked(client, **fields):
    return await asyncio.to_thread(lambda: client.messages.create(**fields))


async def test_the_stand_in_serves_the_sdk_of_twilio():
    async with twilio_peer() as (phones, base):
        sent = await asked(sdk(base), to=TO, from_=SENDER, body="Hello")
        assert (sent.sid[:2], sent.status, sent.to, sent.from_, sent.body) == ("SM", "queued", TO, SENDER, "Hello")
        assert sent.error_code is None
        assert phones.messages == [(TO, "Hello")]


@pytest.mark.parametrize(
    ("status", "code", "fields"),
    [
        (400, 21211, {"to": "12345", "from_": SENDER, "body": "x"}),
        (400, 21602, {"to": TO, "from_": SENDER}),
        (400, 21603, {"to": TO, "body": "x"}),
        (400, 21606, {"to": TO, "from_": "+15005550001", "body": "x"}),
    ],
)
async def test_the_stand_in_refuses_what_twilio_refuses_the_sdk(status, code, fields):
    async with twilio_peer() as (_, base):
        with pytest.raises(TwilioRestException) as caught:
            await asked(sdk(base), **fields)
        assert (caught.value.status, caught.value.code) == (status, code)


@pytest.mark.parametrize(("status", "code"), [(401, 20003), (429, 20429), (500, 20500)])
async def test_the_stand_in_fails_the_sdk_as_twilio_does(status, code):
    async with twilio_peer() as (phones, base):
        if status != 401:
            phones.fail = [(status, code, "No")]
        with pytest.raises(TwilioRestException) as caught:
            await asked(sdk(base, "wrong" if status == 401 else TOKEN), to=TO, from_=SENDER, body="x")
        assert (caught.value.status, caught.value.code) == (status, code)


async def test_an_alert_becomes_a_short_message_with_link_and_id():
    async with twilio_peer() as (phones, base), SmsChannel(base, ACCOUNT, TOKEN, SENDER) as channel:
        assert await channel.send(HELP, [TO]) == {}
    [(to, text)] = phones.messages
    assert to == TO
    assert text == f"Chatbox: Ann asks for help https://chat.example.com/chatbox/staff/c/s [{HELP.short_id}]"


@pytest.mark.parametrize(
    ("failure", "transient"),
    [
        ((400, 21211, "Invalid 'To' Phone Number"), False),
        ((400, 21610, "unsubscribed"), False),
        ((400, 21606, "From is not yours"), True),
        ((401, 20003, "Authenticate"), True),
        ((403, 20005, "Account not active"), True),
        ((404, 20404, "not found"), True),
        ((429, 20429, "Too many requests"), True),
        ((500, 20500, "Internal"), True),
        ((503, 20503, "Unavailable"), True),
    ],
)
async def test_what_people_can_mend_or_time_heals_is_tried_again(failure, transient):
    async with twilio_peer() as (phones, base), SmsChannel(base, ACCOUNT, TOKEN, SENDER) as channel:
        phones.fail = [failure]
        [problem] = (await channel.send(HELP, [TO])).values()
        assert problem.transient is transient
        assert str(failure[1]) in str(problem)
        assert TOKEN not in str(problem)


async def test_one_number_that_is_refused_does_not_keep_it_from_the_others():
    async with twilio_peer() as (phones, base), SmsChannel(base, ACCOUNT, TOKEN, SENDER) as channel:
        phones.stopped = {TO}
        failures = await channel.send(HELP, [TO, "+4915112345679"])
        assert list(failures) == [TO]
        assert [to for to, _ in phones.messages] == ["+4915112345679"]


async def test_the_time_that_the_api_asks_for_is_respected():
    async with twilio_peer() as (phones, base), SmsChannel(base, ACCOUNT, TOKEN, SENDER) as channel:
        phones.fail, phones.retry_after = [(429, 20429, "Too many requests")], 77
        [problem] = (await channel.send(HELP, [TO])).values()
        assert problem.retry_after == 77.0


async def test_an_api_that_stalls_or_is_not_there_is_tried_again(monkeypatch):
    monkeypatch.setattr(sms, "PATIENCE", 0.3)
    async with twilio_peer() as (phones, base), SmsChannel(base, ACCOUNT, TOKEN, SENDER) as channel:
        phones.stall = True
        [problem] = (await channel.send(HELP, [TO])).values()
        assert problem.transient
    async with SmsChannel(base, ACCOUNT, TOKEN, SENDER) as channel:
        [problem] = (await channel.send(HELP, [TO])).values()
        assert problem.transient


def test_an_answer_that_is_no_json_still_has_a_meaning():
    assert refusal(502, b"<html>", {}).transient
    assert not refusal(400, b"[1]", {"Retry-After": "never"}).transient


def test_a_long_name_does_not_push_out_link_and_id():
    alert = Alert(id="help:s:1", event=Event.HELP, at=0, session_id="s" * 22, user_name="\U0001f600" * 500)
    text = text_of(message_of(alert, "https://chat.example.com/" + "x" * 150))
    assert len(text) <= sms.MAX_TEXT
    assert text.endswith(f"/staff/c/{'s' * 22} [{alert.short_id}]")
