"""Frames and typed commands: the wire contract by itself."""

import html
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

from chatbox import protocol
from chatbox.errors import Code, Forbidden, TooMany
from chatbox.fields import BadFrame, Fields
from chatbox.protocol import Frame, Say, decode
from chatbox.session import STEP, Entry, Kind, Sender
from tests import mutants

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)

readiness_7 = pytest.mark.readiness(issue=7)


def refused(frame, code, reading=decode, **options):
    text = frame if isinstance(frame, str) else json.dumps(frame)
    with pytest.raises(BadFrame) as caught:
        reading(text, **options)
    assert caught.value.refusal.code == code
    return caught.value


def entry(**fields):
    base = {"session_id": "s", "kind": Kind.USER_MESSAGE, "message_id": "m", "sender": Sender.USER, "index": 3}
    return Entry(**base | fields)


WRONG = [
    {},
    {"type": None},
    {"type": 1},
    {"type": "nonsense"},
    {"type": "ai_response", "content": "I am the model"},
    {"type": "user_message", "content": 5},
    {"type": "user_message", "content": "x" * 10_001},
    {"type": "ping", "content": "x" * 10_001},
    {"type": "ping", "message_id": "x" * 65},
    {"type": "ping", "message_id": 7},
    {"type": "ping", "session_id": "x" * 129},
    {"type": "ping", "seq": "1"},
    {"type": "ping", "seq": -1},
    {"type": "ping", "prev": 1.5},
    {"type": "ping", "seq": True},
    {"type": "ping", "epoch": 1},
    {"type": "ping", "sender": "root"},
    {"type": "ping", "model_id": "x" * 101},
    {"type": "ping", "file_id": "x" * 256},
    {"type": "ping", "file_url": "x" * 2049},
    {"type": "ping", "user_id": "x" * 129},
    {"type": "ping", "models": "all"},
    {"type": "ping", "metadata": []},
    {"type": "ping", "metadata": {"a": 1}},
    {"type": "ping", "metadata": {"a": "x" * 1001}},
    {"type": "ping", "error": "x"},
    {"type": "ping", "timestamp": 5},
    {"type": "ping", "timestamp": "yesterday"},
    {"type": "ping", "timestamp": "2026-11-21T12:00:00"},
    {"type": "ping", "timestamp": "2026-11-21 12:00:00Z"},
]


# -- decoding ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("frame", "command"),
    [
        ({"type": "user_message", "content": "Hi"}, protocol.Say(message_id="x", content="Hi")),
        (
            {"type": "user_message", "content": "Hi", "model_id": "m", "metadata": {"page": "/"}},
            protocol.Say(message_id="x", content="Hi", model_id="m", metadata={"page": "/"}),
        ),
        ({"type": "stop"}, protocol.Stop(message_id="x")),
        ({"type": "stop", "metadata": {"target": "a"}}, protocol.Stop(message_id="x", target="a")),
        ({"type": "regenerate", "session_id": "s"}, protocol.Regenerate(message_id="x", session_id="s")),
        ({"type": "model_select", "model_id": "m"}, protocol.SelectModel(message_id="x", model_id="m")),
        ({"type": "help_request", "content": "!"}, protocol.AskHelp(message_id="x", content="!")),
        (
            {"type": "help_request", "metadata": {"email": " ann@example.com\0"}},
            protocol.AskHelp(message_id="x", email="ann@example.com"),
        ),
        ({"type": "help_request", "metadata": {"email": " "}}, protocol.AskHelp(message_id="x")),
        ({"type": "help_cancel"}, protocol.CancelHelp(message_id="x")),
        ({"type": "file_upload", "file_id": "f"}, protocol.SendFile(message_id="x", file_id="f")),
        ({"type": "voice_message", "file_id": "f"}, protocol.SendFile(message_id="x", file_id="f", voice=True)),
        ({"type": "typing_indicator"}, protocol.Typing(message_id="x")),
        ({"type": "ping"}, protocol.Ping(message_id="x")),
        ({"type": "auth", "content": "t"}, protocol.Authenticate(message_id="x", token="t")),
    ],
)
def test_every_frame_of_the_contract_becomes_its_command(frame, command):
    assert decode(json.dumps({**frame, "message_id": "x"})) == command


@pytest.mark.parametrize(
    "email",
    [
        "ann",
        "ann@",
        "@example.com",
        "ann@work@example.com",
        "ann example@example.com",
        "ann@example.com\r\nBcc: all@example.com",
        "ann\t@example.com",
        "ann@example.com,bea@example.com",
        "Ann <ann@example.com>",
        "ann\u202e@example.com",
        "a" * 243 + "@example.com",
    ],
)
def test_what_is_no_single_address_is_refused(email):
    with pytest.raises(BadFrame) as bad:
        decode(json.dumps({"type": "help_request", "message_id": "h", "metadata": {"email": email}}))
    assert (bad.value.refusal.code, bad.value.message_id) == (Code.INVALID_FORMAT, "h")


def test_an_address_has_up_to_254_characters():
    email = "a" * 242 + "@example.com"
    assert decode(json.dumps({"type": "help_request", "metadata": {"email": email}})).email == email


def test_a_frame_without_an_id_gets_one_of_128_random_bits():
    ids = {decode('{"type":"ping"}').message_id for _ in range(100)}
    assert len(ids) == 100
    assert all(len(made) == 22 for made in ids)


def check_cleaned(content, reading=decode):
    """The chat gets text without NUL and without blanks around it, and as it was otherwise; nothing is no message."""
    try:
        said = reading(json.dumps({"type": "user_message", "content": content}))
    except BadFrame as bad:
        assert bad.refusal.code == Code.MISSING_FIELD
        assert not content.replace("\0", "").strip()
    else:
        assert isinstance(said, Say)
        assert said.content == content.replace("\0", "").strip()
        assert said.content


@readiness_7
@pytest.mark.parametrize("content", ["  \0<b>a & b</b>\0\n", "\0 \0", "", "&amp;", "'\"<script>"])
def test_text_is_sanitised_and_never_escaped(content):
    check_cleaned(content)


@readiness_7
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_content_reaches_the_chat_without_nul_and_blanks_around_it(content):
    check_cleaned(content)


def unchecked(text):
    """Handles a frame as it came, if it can be read at all."""
    fields = json.loads(text)
    return Say(message_id=fields.get("message_id", "m"), content=fields.get("content", ""))


def escaping(text):
    said = decode(text)
    return Say(message_id=said.message_id, content=html.escape(said.content))


@pytest.mark.readiness(issue=7)
@pytest.mark.parametrize(("reading", "content"), [(unchecked, " x\0"), (unchecked, "\0"), (escaping, "a & b")])
def test_text_that_is_not_cleaned_or_is_escaped_would_be_found(reading, content):
    with mutants.found():
        check_cleaned(content, reading)


@pytest.mark.readiness(issue=7)
def test_frames_that_are_not_validated_would_be_found():
    for frame in WRONG:
        with mutants.found():
            refused(frame, Code.INVALID_FORMAT, reading=unchecked)


@readiness_7
@pytest.mark.parametrize("frame", WRONG)
def test_a_field_of_the_wrong_type_or_size_is_refused_even_where_it_is_not_used(frame):
    refused(frame, Code.INVALID_FORMAT, now=NOW)


@readiness_7
@pytest.mark.parametrize(
    "frame",
    [
        {"type": "user_message"},
        {"type": "user_message", "content": " \0\n "},
        {"type": "model_select"},
        {"type": "file_upload", "file_id": " "},
        {"type": "voice_message"},
        {"type": "auth"},
    ],
)
def test_a_missing_or_blank_required_field_is_named(frame):
    bad = refused({**frame, "message_id": "m1"}, Code.MISSING_FIELD)
    assert bad.message_id == "m1"
    assert "required" in bad.refusal.message


def test_an_error_repeats_the_frames_id_where_it_can_be_read():
    assert refused({"type": "x", "message_id": "m1"}, Code.INVALID_FORMAT).message_id == "m1"
    assert refused({"type": "x", "message_id": "m" * 65}, Code.INVALID_FORMAT).message_id is None
    assert refused("[]", Code.INVALID_FORMAT).message_id is None


def test_exactly_10000_characters_are_fine_whatever_they_are():
    assert decode(json.dumps({"type": "user_message", "content": "😀" * 10_000}))


def test_a_clients_clock_may_be_a_minute_ahead_and_no_more():
    def at(ahead):
        return {"type": "ping", "timestamp": (NOW + timedelta(seconds=ahead)).isoformat()}

    assert decode(json.dumps(at(59)), now=NOW)
    assert decode(json.dumps(at(-86400)), now=NOW)
    refused(at(61), Code.INVALID_FORMAT, now=NOW)


def test_unknown_fields_are_ignored():
    assert decode('{"type":"ping","message_id":"m","colour":"red"}') == protocol.Ping(message_id="m")


@readiness_7
@settings(max_examples=300)
@given(st.dictionaries(st.sampled_from([*Fields.__struct_fields__, "x"]), st.from_type(object) | st.none()))
def test_whatever_a_client_sends_is_a_command_or_a_typed_refusal(frame):
    try:
        text = json.dumps({"type": "user_message", **frame}, default=str)
    except (TypeError, ValueError, RecursionError):
        return
    try:
        decode(text)
    except BadFrame as bad:
        assert bad.refusal.code in (Code.INVALID_FORMAT, Code.MISSING_FIELD)


# -- encoding ----------------------------------------------------------------------------------------------------------


def test_a_piece_carries_prev_only_where_it_is_not_the_position_before():
    head = protocol.piece_head("s", "a")
    assert json.loads(protocol.piece(head, 11, 10, 'x"\n😀')) == {
        "type": "ai_response",
        "session_id": "s",
        "message_id": "a",
        "sender": "ai",
        "metadata": {"streaming": "true", "done": "false"},
        "seq": 11,
        "content": 'x"\n😀',
    }
    assert json.loads(protocol.piece(head, 11, 4, "x"))["prev"] == 4


def test_the_end_of_a_streamed_answer_is_empty_and_a_whole_answer_is_not_streamed():
    answer = entry(kind=Kind.AI_RESPONSE, sender=Sender.AI, content="Paris", metadata={"finish_reason": "stop"})
    live = json.loads(protocol.entry_frame(answer, 2 * STEP, live=True))
    whole = json.loads(protocol.entry_frame(answer, 2 * STEP))
    assert live["content"] == ""
    assert live["metadata"] == {"finish_reason": "stop", "streaming": "true", "done": "true"}
    assert whole["content"] == "Paris"
    assert "streaming" not in whole["metadata"]
    assert (whole["seq"], whole["prev"]) == (3 * STEP, 2 * STEP)


def test_an_entry_outside_the_log_has_no_position():
    frame = json.loads(protocol.entry_frame(entry(kind=Kind.NOTIFICATION), None))
    assert "seq" not in frame
    assert "prev" not in frame


def test_a_repeated_ack_has_no_prev():
    assert json.loads(protocol.ack("s", "m", 5)) == {"type": "ack", "session_id": "s", "message_id": "m", "seq": 5}
    assert json.loads(protocol.ack("s", "m", 5, 3))["prev"] == 3
    assert "prev" not in json.loads(protocol.ack("s", "m", 5, 4))


def test_an_error_says_whether_the_socket_stays_and_when_to_come_back():
    body = json.loads(protocol.error(TooMany("Slow down.", retry_after=1500), message_id="m"))
    assert body["error"] == {
        "code": "TOO_MANY_REQUESTS",
        "message": "Slow down.",
        "recoverable": True,
        "retry_after": 1500,
    }
    assert json.loads(protocol.error(Forbidden("No."), recoverable=False))["error"]["recoverable"] is False


@pytest.mark.parametrize("ms", [0, 1, 999, 1_000, 1_795_269_621_473])
def test_times_are_rfc_3339_utc(ms):
    text = protocol.rfc3339(ms)
    assert text.endswith("Z")
    assert round(datetime.fromisoformat(text).timestamp() * 1000) == ms


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 70_000])
def test_the_wire_form_of_a_frame_is_a_websocket_text_frame(size):
    frame = Frame("x" * size)
    client = Protocol(CLIENT, state=OPEN, max_size=None)
    client.receive_data(frame.wire)
    received = client.events_received()
    assert [(event.opcode, bytes(event.data).decode(), event.fin) for event in received] == [(Opcode.TEXT, frame, True)]
    assert frame.wire is frame.wire
