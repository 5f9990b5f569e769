"""The frames of the staff socket: text to typed commands, and what staff get to text."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbox.errors import Code
from chatbox.fields import BadFrame, Fields
from chatbox.hub import Position, Replay
from chatbox.protocol import Authenticate, Ping
from chatbox.session import Principal, Session, Staff
from chatbox.staff import protocol
from chatbox.staff.protocol import Excerpt, StaffFields, Waiting, decode

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "protocol.md").read_text().split("## The staff socket")[1]

COMMANDS = [
    ({"type": "watch"}, protocol.Watch(message_id="m", session_id="s")),
    (
        {"type": "watch", "epoch": "e", "last_seq": 0},
        protocol.Watch(message_id="m", session_id="s", at=Position("e", 0)),
    ),
    ({"type": "watch", "last_seq": 5}, protocol.Watch(message_id="m", session_id="s", at=Position("", 5))),
    ({"type": "unwatch"}, protocol.Unwatch(message_id="m", session_id="s")),
    ({"type": "history", "before": 7}, protocol.History(message_id="m", session_id="s", before=7)),
    ({"type": "admin_join"}, protocol.Join(message_id="m", session_id="s")),
    ({"type": "admin_leave"}, protocol.Leave(message_id="m", session_id="s")),
    ({"type": "transfer", "user_id": "cy"}, protocol.Transfer(message_id="m", session_id="s", to="cy")),
    ({"type": "user_message", "content": " hi\0 "}, protocol.Say(message_id="m", session_id="s", content="hi")),
    ({"type": "note", "content": "hm"}, protocol.Note(message_id="m", session_id="s", content="hm")),
    ({"type": "typing_indicator"}, protocol.Typing(message_id="m", session_id="s")),
    ({"type": "suggest"}, protocol.Suggest(message_id="m", session_id="s")),
    ({"type": "summarise"}, protocol.Summarise(message_id="m", session_id="s")),
    ({"type": "list", "metadata": {"limit": "1"}}, protocol.ListSessions(message_id="m", parameters={"limit": "1"})),
    ({"type": "figures"}, protocol.AskFigures(message_id="m", parameters={})),
    ({"type": "ping"}, Ping(message_id="m")),
    ({"type": "auth", "content": "t"}, Authenticate(message_id="m", token="t")),
]


@pytest.mark.parametrize(("frame", "command"), COMMANDS, ids=lambda value: getattr(value, "get", lambda _: "")("type"))
def test_each_type_is_a_command(frame, command):
    assert decode(json.dumps({"message_id": "m", "session_id": "s", **frame})) == command


def test_a_frame_without_an_id_gets_one():
    assert decode('{"type":"note","session_id":"s","content":"x"}').message_id


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        ({}, Code.INVALID_FORMAT),
        ({"type": "stop", "session_id": "s"}, Code.INVALID_FORMAT),
        ({"type": "regenerate", "session_id": "s"}, Code.INVALID_FORMAT),
        ({"type": "nonsense"}, Code.INVALID_FORMAT),
        ({"type": "watch"}, Code.MISSING_FIELD),
        ({"type": "watch", "session_id": ""}, Code.MISSING_FIELD),
        ({"type": "watch", "session_id": "s", "last_seq": "5"}, Code.INVALID_FORMAT),
        ({"type": "ping", "before": -1}, Code.INVALID_FORMAT),
        ({"type": "history", "session_id": "s"}, Code.MISSING_FIELD),
        ({"type": "transfer", "session_id": "s", "user_id": " "}, Code.MISSING_FIELD),
        ({"type": "user_message", "session_id": "s", "content": "x" * 10_001}, Code.INVALID_FORMAT),
    ],
)
def test_what_can_not_be_done_is_refused_with_the_ids_that_could_be_read(frame, code):
    with pytest.raises(BadFrame) as caught:
        decode(json.dumps({"message_id": "m", **frame}))
    assert (caught.value.refusal.code, caught.value.message_id) == (code, "m")
    assert caught.value.session_id == (frame.get("session_id") or None)


@settings(max_examples=300)
@given(
    st.sampled_from([frame["type"] for frame, _ in COMMANDS]),
    st.dictionaries(st.sampled_from([*StaffFields.__struct_fields__, "x"]), st.from_type(object) | st.none()),
)
def test_whatever_staff_send_is_a_command_or_a_typed_refusal(kind, frame):
    try:
        text = json.dumps({"type": kind, **frame}, default=str)
    except (TypeError, ValueError, RecursionError):
        return
    try:
        decode(text)
    except BadFrame as bad:
        assert bad.refusal.code in (Code.INVALID_FORMAT, Code.MISSING_FIELD)


def rows(text):
    """What stands in backquotes in the first cell of a table's row."""
    cells = re.findall(r"^\| ([^|]+) \|", text, re.MULTILINE)
    return {word for cell in cells for word in re.findall(r"`([^`]+)`", cell)}


def test_the_wire_page_names_every_frame_that_staff_may_send():
    sent = {frame["type"] for frame, _ in COMMANDS}
    assert sent <= rows(PAGE)
    kinds = {type(command) for _, command in COMMANDS}
    assert set(get_args(protocol.InSession)) | {protocol.ListSessions, protocol.AskFigures} <= kinds


WHO = Principal("bea", "Bea", frozenset({"admin"}), 2e9)
SESSION = Session(id="s", user_id="ann", epoch="e", last_index=3)
VIEW = {"id": "s"}

FRAMES = [
    protocol.staff_status(WHO, "admin", [Staff("bea", "Bea")], Waiting([], 0)),
    protocol.watch_status("m", SESSION, VIEW, Replay(5, False), Excerpt([], None), "epoch"),
    protocol.history("s", "m", Excerpt([], 4)),
    protocol.session_list("m", [VIEW], 1, {}),
    protocol.figures("m", {}, [], {}),
    protocol.session_update(SESSION, VIEW, {}),
    protocol.session_gone("s"),
    protocol.help_update(Waiting([VIEW], 1)),
    protocol.staff_update([]),
    protocol.typing("s", Staff("bea", "Bea")),
]


def test_the_wire_page_names_every_frame_that_staff_get_and_every_field():
    frames = [json.loads(frame) for frame in FRAMES]
    assert {frame["type"] for frame in frames} <= rows(PAGE)
    fields = {field for frame in frames for field in frame}
    assert fields - set(Fields.__struct_fields__) <= rows(PAGE)


def test_a_watch_that_is_not_resumed_says_why_and_has_messages_even_if_there_are_none():
    refused = json.loads(protocol.watch_status("m", SESSION, VIEW, Replay(5, False), Excerpt([], None), "epoch"))
    assert (refused["metadata"], refused["messages"]) == ({"resumed": "false", "reason": "epoch"}, [])
    resumed = json.loads(protocol.watch_status("m", SESSION, VIEW, Replay(5, True), None, None))
    assert resumed["metadata"] == {"resumed": "true"}
    assert "messages" not in resumed
    paged = json.loads(protocol.watch_status("m", SESSION, VIEW, Replay(5, True), Excerpt([], 1), None))
    assert paged["metadata"] == {"resumed": "false"}
