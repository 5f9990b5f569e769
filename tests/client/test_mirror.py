"""The client's side of the log: whatever is cut, merged or doubled, each thing is told once and in order."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from chatbox.client.api import StoredMessage
from chatbox.client.events import (
    Answer,
    HelpNews,
    Loading,
    Message,
    Notice,
    Piece,
    Problem,
    Reset,
    StaffJoined,
    StaffLeft,
    Typing,
)
from chatbox.client.frames import Command, ErrorBody, Frame, NoFrame, decode
from chatbox.client.mirror import Gap, Mirror, Missing
from chatbox.session import STEP
from tests.client.model import Log, Step, greeting, piece, piece_like

texts = st.text(min_size=1, max_size=4) | st.just("")


@st.composite
def logs(draw):
    """A conversation: messages of this client and of others, answers in pieces, notes, entries that nobody sees."""
    steps = []
    for number in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["message", "own", "note", "stop", "answer", "answer", "answer"]))
        if kind != "answer":
            steps.append(Step(kind, f"{kind}-{number}", draw(texts)))
            continue
        answer = f"answer-{number}"
        steps += [Step("turn", answer), Step("loading", answer)]
        for part in range(draw(st.integers(0, 7))):
            if draw(st.integers(0, 5)) == 0:
                steps.append(Step("message", f"{answer}-meanwhile-{part}", draw(texts)))
            steps.append(Step("piece", answer, draw(texts)))
        steps.append(Step("answer", answer))
    return Log(steps)


class Consumer:
    """What an application keeps of the events."""

    def __init__(self):
        self.told = []
        self.pieces = {}

    def take(self, events):
        for event in events:
            match event:
                case Reset():
                    self.told.clear()
                    self.pieces.clear()
                case Message(message_id=message_id, content=content):
                    self.told.append((message_id, content))
                case Answer(message_id=message_id, content=content):
                    assert self.pieces.get(message_id, "") in ("", content)
                    self.told.append((message_id, content))
                case Notice(event=text, seq=int()):
                    self.told.append(("note", text))
                case Piece(message_id, text):
                    self.pieces[message_id] = self.pieces.get(message_id, "") + text


def truth(log):
    return [("note" if step_id.startswith("note") else step_id, text) for step_id, text in log.truth()]


class Wire:
    """Sockets of a model server to one mirror; ``draw`` decides all that the contract leaves open."""

    def __init__(self, log, data):
        self.log, self.data = log, data
        self.own = {
            step.id: Command(type="user_message", message_id=step.id, content=step.text)
            for step in log.steps
            if step.kind == "own"
        }
        self.mirror = Mirror(self.own.get, history=True)
        self.consumer = Consumer()
        self.now = 0

    def choose(self, *options):
        return self.data.draw(st.sampled_from(options))

    def connect(self):
        """One connection up to where it is cut."""
        at = self.mirror.position.seq if self.mirror.position else None
        refused = self.choose("", "too_far", "", "too_far", "epoch") if at is not None else ""
        first, start = self.log.greeting(self.now, at, refused)
        missing = self.mirror.missing(first)
        stored = self.log.stored(missing.until) if missing else []
        self.consumer.take(self.mirror.greet(first, [f for f in stored if f.seq > missing.after]))
        frames, at = self.log.replay(start, self.now, lambda: self.choose(True, False))
        if first.metadata["resumed"] == "false" and (turn := self.log.running(self.now)) is not None:
            frames = [f for f in frames if f.type != "loading"]
            frames.insert(0, Frame(type="loading", message_id=self.log.steps[turn].id))
        for frame in frames:
            if not self.deliver(frame):
                return
        while self.now < len(self.log.steps):
            frame = self.log.live(self.now, at, self.own)
            at = at if frame is None or frame.seq is None else frame.seq
            self.now += 1
            if frame and not self.deliver(frame):
                return

    def deliver(self, frame):
        """Give the mirror a frame, perhaps twice; false when the line was cut before."""
        if self.choose(0, 0, 0, 0, 1):
            return False
        for _ in range(self.choose(1, 1, 2)):
            self.consumer.take(self.mirror.receive(frame))
        return True


@settings(max_examples=500)
@given(logs(), st.data())
def test_a_conversation_cut_anywhere_is_the_same_conversation(log, data):
    wire = Wire(log, data)
    for _ in range(8):
        wire.connect()
    data = None
    wire.choose = lambda *options: options[0]
    wire.connect()
    assert wire.now == len(log.steps)
    assert wire.consumer.told == truth(log)


@given(logs(), st.integers(0, 40))
def test_frames_that_come_again_have_no_effect(log, again):
    mirror, consumer, seen, at = Mirror({}.get), Consumer(), [], 0
    list(mirror.greet(greeting(0, resumed="false")))
    for place in range(len(log.steps)):
        frame = log.live(place, at, {})
        if frame is None:
            continue
        at = at if frame.seq is None else frame.seq
        consumer.take(mirror.receive(frame))
        seen.append(frame)
        before = mirror.position
        repeated = [frame for frame in seen[-again:] if frame.seq is not None]
        assert [event for frame in repeated for event in mirror.receive(frame)] == []
        assert mirror.position == before
    assert consumer.told == truth(log)


def started(seq=0, own=None, **options):
    mirror = Mirror((own or {}).get, **options)
    list(mirror.greet(greeting(seq, resumed="false")))
    return mirror


def test_a_frame_after_a_gap_is_refused_and_nothing_moves():
    mirror = started()
    with pytest.raises(Gap, match="position is 0"):
        list(mirror.receive(Frame(type="user_message", message_id="m", seq=3 * STEP, prev=STEP)))
    assert mirror.position.seq == 0


def test_a_piece_that_overlaps_what_was_seen_is_a_gap_as_it_can_not_be_divided():
    mirror = started()
    list(mirror.receive(piece("a", "one", 2, 0)))
    with pytest.raises(Gap):
        list(mirror.receive(piece("a", "e two", 5, 1)))


def test_an_answer_given_whole_replaces_what_was_streamed_even_if_it_is_shorter():
    mirror = started()
    list(mirror.receive(piece("a", "one two three", 1, 0)))
    whole = Frame(
        type="ai_response",
        message_id="a",
        content="one two",
        seq=STEP,
        prev=1,
        metadata={"done": "true", "finish_reason": "interrupted", "tokens": "7"},
    )
    [answer] = mirror.receive(whole)
    assert (answer.content, answer.finish_reason, answer.tokens) == ("one two", "interrupted", 7)


def test_own_words_are_told_at_the_place_of_their_ack():
    own = {"m": Command(type="user_message", message_id="m", content="hello")}
    [message] = started(own=own).receive(Frame(type="ack", message_id="m", seq=STEP, prev=0))
    assert (message.content, message.own, message.seq) == ("hello", True, STEP)


def test_the_ack_of_another_command_is_told_by_what_it_does():
    own = {"m": Command(type="regenerate", message_id="m")}
    assert list(started(own=own).receive(Frame(type="ack", message_id="m", seq=STEP, prev=0))) == []


def test_own_words_that_a_resume_brings_back_are_known_as_own():
    own = {"m": Command(type="user_message", message_id="m", content="hello")}
    [message] = started(own=own).receive(Frame(type="user_message", message_id="m", content="hello", seq=STEP, prev=0))
    assert message.own


def test_without_history_nothing_is_read_at_the_first_connection():
    assert Mirror({}.get).missing(greeting(5 * STEP, resumed="false")) is None
    assert Mirror({}.get, history=True).missing(greeting(5 * STEP, resumed="false")) == Missing(0, 5 * STEP)


def test_what_is_too_far_behind_is_read_from_where_the_client_was():
    mirror = started(2 * STEP)
    list(mirror.receive(Frame(type="user_message", message_id="m", seq=3 * STEP, prev=2 * STEP)))
    assert mirror.missing(greeting(900 * STEP, resumed="false", reason="too_far")) == Missing(3 * STEP, 900 * STEP)
    assert mirror.missing(greeting(900 * STEP, resumed="true")) is None


@pytest.mark.parametrize(
    ("again", "reason"),
    [
        (greeting(STEP, resumed="false", reason="epoch", epoch="other"), "epoch"),
        (greeting(STEP, resumed="false", reason="unknown"), "unknown"),
        (greeting(STEP, resumed="false", session="another"), "session"),
    ],
)
def test_when_what_was_seen_does_not_count_any_more_the_client_says_so_and_starts_over(again, reason):
    mirror = started(5 * STEP)
    assert mirror.missing(again) == Missing(0, STEP)
    stored = Frame(type="user_message", message_id="m", content="what is left", seq=STEP, prev=0)
    _, reset, message = mirror.greet(again, [stored])
    assert reset == Reset(reason)
    assert message.content == "what is left"
    assert mirror.position == (again.session_id, again.epoch, STEP)


def test_loading_is_told_once_an_answer():
    mirror = started()
    loading = Frame(type="loading", message_id="a", metadata={"replaces": "b"})
    assert [*mirror.receive(loading), *mirror.receive(loading)] == [Loading("a", "b")]
    assert mirror.running == "a"


def told(frames, mirror):
    """The events of frames, of which each stands where the one before ended."""
    placed = [replace(frame, seq=n * STEP, prev=(n - 1) * STEP) for n, frame in enumerate(frames, start=1)]
    return [event for frame in placed for event in mirror.receive(frame)]


def test_everything_else_has_its_event():
    mirror = started()
    staff = {"admin_id": "7", "admin_name": "Eve"}
    error = ErrorBody(code="CONFLICT", message="no", retry_after=5)
    frames = [
        Frame(type="admin_join", seq=STEP, prev=0, metadata=staff),
        Frame(type="admin_leave", seq=2 * STEP, prev=STEP, metadata=staff),
        Frame(type="typing_indicator", sender="admin", metadata={"admin_name": "Eve"}),
        Frame(type="typing_indicator", sender="user"),
        Frame(type="error", message_id="m", error=error),
        Frame(type="something_new", seq=3 * STEP, prev=2 * STEP),
        Frame(type="pong"),
    ]
    assert [event for frame in frames for event in mirror.receive(frame)] == [
        StaffJoined("Eve", STEP),
        StaffLeft("Eve", 2 * STEP),
        Typing("admin", "Eve"),
        Typing("user"),
        Problem("CONFLICT", "no", True, 5, "m"),
    ]
    assert mirror.position.seq == 3 * STEP


def test_who_hands_on_and_why_staff_have_left_is_told():
    eve, kim = {"admin_id": "7", "admin_name": "Eve"}, {"admin_id": "8", "admin_name": "Kim"}
    frames = [
        Frame(type="admin_join", metadata=eve),
        Frame(type="admin_join", metadata=kim | {"from_id": "7", "from_name": "Eve"}),
        Frame(type="admin_leave", metadata=kim | {"reason": "away"}),
    ]
    assert told(frames, started()) == [
        StaffJoined("Eve", STEP),
        StaffJoined("Kim", 2 * STEP, "Eve"),
        StaffLeft("Kim", 3 * STEP, "away"),
    ]


def test_how_a_call_for_help_stands_is_told_with_its_times():
    news = [
        {"state": "told", "at": "2026-11-21T09:00:00Z"},
        {"state": "asked"},
        {"state": "asked", "open": "false", "opens_at": "2026-11-23T09:00:00Z"},
        {"state": "told", "at": "2026-11-21T10:00:00Z"},
        {"state": "asked", "email": "ann@example.com"},
        {"state": "none"},
    ]
    frames = [Frame(type="notification", metadata={"event": "help_state", **one}) for one in news]
    assert told(frames, started()) == [
        HelpNews(state="none", at="2026-11-21T09:00:00Z", seq=STEP),
        HelpNews(state="asked", seq=2 * STEP),
        HelpNews(state="asked", open=False, opens_at="2026-11-23T09:00:00Z", seq=3 * STEP),
        HelpNews(state="told", at="2026-11-21T10:00:00Z", seq=4 * STEP),
        HelpNews(state="told", email="ann@example.com", seq=5 * STEP),
        HelpNews(state="none", seq=6 * STEP),
    ]


def test_while_staff_are_there_nobody_waits():
    asked = Frame(type="notification", metadata={"event": "help_state", "state": "asked"})
    join, leave = Frame(type="admin_join", metadata={"admin_name": "Eve"}), Frame(type="admin_leave")
    events = told([join, asked, leave, asked, join, asked], started())
    assert [event.state for event in events if isinstance(event, HelpNews)] == ["none", "asked", "joined"]


def test_the_first_frame_says_who_has_the_conversation_and_how_a_call_stands():
    mirror = Mirror({}.get)
    metadata = {"resumed": "false", "help_state": "told", "help_email": "ann@example.com"}
    (connected,) = mirror.greet(greeting(0, **metadata))
    assert (connected.staff_name, connected.help_state) == (None, "told")
    assert connected.help_email == "ann@example.com"
    (news,) = told([Frame(type="notification", metadata={"event": "help_state", "state": "asked"})], mirror)
    assert news.state == "told"
    metadata = {"resumed": "false", "help_state": "joined", "admin_id": "7", "admin_name": "Eve"}
    (connected,) = Mirror({}.get).greet(greeting(0, **metadata))
    assert connected.staff_name == "Eve"


def test_what_a_user_says_of_staff_in_history_is_no_event():
    said = StoredMessage(
        message_id="m", seq=STEP, content="hi", timestamp="", sender="user", metadata={"event": "admin_join"}
    )
    (message,) = started().receive(said.frame)
    assert isinstance(message, Message)


@pytest.mark.parametrize("first", [Frame(type="loading"), Frame(type="connection_status")])
def test_a_socket_that_begins_with_something_else_is_refused(first):
    with pytest.raises(NoFrame):
        Mirror({}.get).missing(first)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"type": 5}', '{"type":"ack","seq":"x"}', "nonsense", "\ud800"])
def test_what_is_no_frame_is_an_error(text):
    with pytest.raises(NoFrame):
        decode(text)


def test_fields_and_types_that_are_unknown_are_ignored():
    assert decode('{"type":"novelty","shine":true,"seq":7}') == Frame(type="novelty", seq=7)


def test_pieces_are_told_from_the_end_of_an_answer():
    assert piece_like(piece("a", "", 1, 0))


def test_an_answer_that_starts_over_is_not_told_twice():
    mirror = started()
    list(mirror.receive(piece("a", "one ", 1, 0)))
    list(mirror.greet(greeting(0, resumed="false", reason="too_far")))
    assert list(mirror.receive(piece("a", "one two", 2, 0))) == [Piece("a", "two")]
    done = Frame(type="ai_response", message_id="a", seq=STEP, prev=2, metadata={"done": "true", "streaming": "true"})
    [answer] = mirror.receive(done)
    assert answer.content == "one two"
