"""The checker finds what is wrong with a history, each kind of it, and nothing in a good one."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.faults.checker import check, check_file
from tests.faults.history import FAIL, INFO, INVOKE, OK, History, Record, read
from tests.faults.model import answer

STEP = 1 << 20
FIRST, SECOND = "ann 1 · 3 pieces, 0 ms apart", "ann 2 · 2 pieces, 0 ms apart"
DEVICES = ("ann/0", "ann/1")
READERS = ("one", "two")


def record(kind, what, who="ann/0", **fields):
    return Record(at=0.0, kind=kind, what=what, who=who, user="ann", session="session", **fields)


def said(number, text, seq, outcome=OK):
    return [
        record(INVOKE, "say", id=f"q{number}", text=text),
        record(outcome, "say", id=f"q{number}", seq=seq),
    ]


def told(device, number, text, seq):
    """A question and its answer as a device is told of them."""
    whole, end = answer(text, 0), {"finish_reason": "stop"}
    return [
        record(INFO, "message", device, id=f"q{number}", seq=seq, text=text, more={"sender": "user"}),
        record(INFO, "loading", device, id=f"a{number}"),
        record(INFO, "piece", device, id=f"a{number}", text=whole[:10]),
        record(INFO, "piece", device, id=f"a{number}", text=whole[10:]),
        record(INFO, "answer", device, id=f"a{number}", seq=seq + 2 * STEP, text=whole, more=end),
    ]


def framed(device, number, seq):
    """The same on a socket; the turn's own entry is hidden."""
    socket, turn = f"{device} socket", seq + STEP
    return [
        record(INFO, "frame", socket, id=f"q{number}", seq=seq, prev=seq - STEP, more={"type": "user_message"}),
        record(INFO, "frame", socket, id=f"a{number}", more={"type": "loading"}),
        record(INFO, "frame", socket, id=f"a{number}", seq=turn + 1, prev=seq, more=PIECE),
        record(INFO, "frame", socket, id=f"a{number}", seq=turn + STEP, prev=turn + 1, more=PIECE | {"done": "true"}),
    ]


PIECE = {"type": "ai_response", "done": "false"}
GREETING = {"type": "connection_status", "resumed": "false"}


def stored(reader, number, text, seq):
    end = {"sender": "ai", "finish_reason": "stop"}
    return [
        record(INFO, "stored", reader, id=f"q{number}", seq=seq, text=text, more={"sender": "user"}),
        record(INFO, "stored", reader, id=f"a{number}", seq=seq + 2 * STEP, text=answer(text, 0), more=end),
    ]


@dataclass
class Story:
    """A good history in parts, of which a test spoils one."""

    saying: list[Record] = field(default_factory=list)
    model: list[Record] = field(default_factory=list)
    telling: dict[str, list[Record]] = field(default_factory=dict)
    wire: dict[str, list[Record]] = field(default_factory=dict)
    storing: dict[str, list[Record]] = field(default_factory=dict)

    @property
    def records(self):
        parts = [self.saying, self.model, *self.telling.values(), *self.wire.values(), *self.storing.values()]
        return [found for part in parts for found in part]


@pytest.fixture
def story():
    good = Story()
    for number, text in ((1, FIRST), (2, SECOND)):
        seq = (3 * number - 2) * STEP
        good.saying += said(number, text, seq)
        good.model += [Record(at=0, kind=kind, what="answer", who="model", text=text, more={}) for kind in (INVOKE, OK)]
        for device in DEVICES:
            good.telling.setdefault(device, [record(INFO, "connected", device)]).extend(told(device, number, text, seq))
            greeting = record(INFO, "frame", f"{device} socket", seq=0, more=GREETING)
            good.wire.setdefault(device, [greeting]).extend(framed(device, number, seq))
        for reader in READERS:
            good.storing.setdefault(reader, []).extend(stored(reader, number, text, seq))
    return good


def spoil(records, what, message_id, /, **changes):
    """Change the last record of that kind about that message."""
    place = max(n for n, found in enumerate(records) if found.what == what and found.id == message_id)
    records[place] = replace(records[place], **changes)


def drop(records, what, message_id):
    place = max(n for n, found in enumerate(records) if found.what == what and found.id == message_id)
    return records.pop(place)


def everywhere(parts, change):
    for part in parts.values():
        change(part)


def test_nothing_is_wrong_with_a_good_history(story):
    verdict = check(story.records)
    assert verdict.violations == []
    assert verdict.counts["acknowledged"] == 2
    assert verdict.identical == {FIRST, SECOND}


def taken_over(story, *frames):
    """Staff have the conversation at the end, and then this comes on a socket."""
    joined = {"type": "admin_join", "admin_id": "bea"}
    story.wire["ann/0"] += [
        record(
            INFO,
            "frame",
            "ann/0 socket",
            id=f"x{n}",
            seq=(20 + n) * STEP,
            prev=(19 + n) * STEP if n else 6 * STEP,
            more=more,
        )
        for n, more in enumerate((joined, *frames))
    ]


def words(story, *stored):
    """Staff said something that was acknowledged."""
    more = {"type": "user_message", "admin_id": "bea", "of": "ann"}
    story.saying.append(record(OK, "staff", "bea", id="w", text="hello", more=more))
    for reader in READERS:
        found = [
            record(INFO, "words", reader, id="w", seq=9 * STEP, text=t, more={"admin_id": who}) for t, who in stored
        ]
        story.storing[reader] += found


def test_staff_who_speak_come_and_go_and_hand_on_are_all_right(story):
    taken_over(
        story,
        {"type": "user_message", "admin_id": "bea"},
        {"type": "admin_join", "admin_id": "cy", "from_id": "bea"},
        {"type": "admin_leave", "admin_id": "cy"},
        PIECE,
    )
    words(story, ("hello", "bea"))
    verdict = check(story.records)
    assert verdict.violations == []
    assert verdict.counts["staff user_message"] == 1


@pytest.mark.parametrize("stored", [[], [("hello", "bea")] * 2, [("hallo", "bea")], [("hello", "cy")]])
def test_words_of_staff_that_are_not_stored_as_said_are_found(story, stored):
    words(story, *stored)
    assert check(story.records).kinds & {"lost", "stored twice", "altered"}


@pytest.mark.parametrize(
    ("frame", "kind"),
    [
        (PIECE, "the AI during a takeover"),
        ({"type": "loading"}, "the AI during a takeover"),
        ({"type": "admin_join", "admin_id": "cy"}, "two owners"),
        ({"type": "admin_leave", "admin_id": "cy"}, "two owners"),
        ({"type": "user_message", "admin_id": "cy"}, "two owners"),
    ],
)
def test_whoever_acts_in_a_conversation_that_another_one_has_is_found(story, frame, kind):
    taken_over(story, frame)
    assert check(story.records).kinds == {kind}


SPOILT = {
    "lost": lambda s: everywhere(s.storing, lambda part: drop(part, "stored", "q1")),
    "altered": lambda s: everywhere(s.storing, lambda part: spoil(part, "stored", "q1", text=SECOND + " ")),
    "moved": lambda s: spoil(s.saying, "say", "q1", seq=2 * STEP),
    "refused but stored": lambda s: spoil(s.saying, "say", "q2", kind=FAIL),
    "invented": lambda s: everywhere(
        s.storing, lambda p: p.insert(0, replace(p[0], id="x", seq=1, text="ann 0 · 1 pieces, 0 ms apart"))
    ),
    "stored twice": lambda s: everywhere(s.storing, lambda part: part.append(replace(part[0], id="x", seq=9 * STEP))),
    "out of order": lambda s: s.saying.sort(key=lambda found: found.id, reverse=True),
    "second session": lambda s: everywhere(s.storing, lambda part: part.append(replace(part[0], session="other"))),
    "readers disagree": lambda s: drop(s.storing["two"], "stored", "a2"),
    "wrong answer": lambda s: everywhere(s.storing, lambda p: spoil(p, "stored", "a1", text=answer(FIRST, 0)[:-1])),
    "unanswered": lambda s: everywhere(s.storing, lambda part: drop(part, "stored", "a2")),
    "second answer": lambda s: everywhere(s.storing, lambda p: p.append(replace(p[1], id="x", seq=9 * STEP))),
    "model asked twice": lambda s: s.model.append(s.model[0]),
    "wrong end": lambda s: everywhere(
        s.storing, lambda p: spoil(p, "stored", "a2", more={"sender": "ai", "finish_reason": "error"})
    ),
    "told twice": lambda s: s.telling["ann/1"].append(replace(s.telling["ann/1"][5], seq=9 * STEP)),
    "told out of order": lambda s: s.telling["ann/1"].append(s.telling["ann/1"].pop(1)),
    "told, not stored": lambda s: s.telling["ann/1"].append(replace(s.telling["ann/1"][1], id="x", seq=9 * STEP)),
    "told otherwise": lambda s: spoil(s.telling["ann/0"], "message", "q1", text="other"),
    "not told": lambda s: drop(s.telling["ann/1"], "message", "q2"),
    "reset": lambda s: s.telling["ann/0"].append(record(INFO, "reset", text="epoch")),
    "gave up": lambda s: s.telling["ann/0"].append(record(INFO, "ended", text="ValueError")),
    "loaded twice": lambda s: s.telling["ann/0"].insert(2, record(INFO, "loading", id="a1")),
    "loaded after its end": lambda s: s.telling["ann/0"].append(record(INFO, "loading", id="a1")),
    "no end": lambda s: drop(s.telling["ann/0"], "answer", "a2"),
    "torn": lambda s: drop(s.telling["ann/0"], "piece", "a1"),
    "gap": lambda s: s.wire["ann/0"].pop(3),
    "two ends": lambda s: s.wire["ann/1"].append(replace(s.wire["ann/1"][-1], seq=9 * STEP, prev=6 * STEP)),
    "no greeting": lambda s: s.wire["ann/1"].pop(0),
    "two at one position": lambda s: spoil(s.wire["ann/1"], "frame", "q1", id="x"),
}


@pytest.mark.parametrize("kind", SPOILT)
def test_each_broken_promise_is_found(story, kind):
    SPOILT[kind](story)
    assert kind in check(story.records).kinds


def test_a_position_that_comes_twice_on_a_socket_is_a_gap(story):
    story.wire["ann/0"].insert(2, story.wire["ann/0"][1])
    assert check(story.records).kinds == {"gap"}


def test_an_acknowledgement_that_is_repeated_is_none(story):
    again = record(INFO, "frame", "ann/0 socket", id="q1", seq=STEP, more={"type": "ack"})
    story.wire["ann/0"].append(again)
    assert check(story.records).violations == []


def test_an_answer_that_broke_off_may_be_any_beginning_of_what_the_model_said(story):
    half = answer(SECOND, 0)[:7]
    ends = {"sender": "ai", "finish_reason": "interrupted"}
    for part in story.storing.values():
        spoil(part, "stored", "a2", text=half, more=ends)
    for part in story.telling.values():
        spoil(part, "answer", "a2", text=half, more=ends)
    assert check(story.records).kinds == {"wrong end"}
    assert check(story.records, frozenset({"stop", "interrupted"})).violations == []


def test_what_was_said_and_never_acknowledged_may_be_stored_or_not(story):
    spoil(story.saying, "say", "q2", kind=INFO, seq=None)
    assert check(story.records).violations == []
    for part in (*story.storing.values(), *story.telling.values(), *story.wire.values()):
        part[:] = [found for found in part if found.id not in ("q2", "a2")]
    del story.model[2:]
    assert check(story.records).violations == []


def test_a_history_is_read_as_it_was_written_up_to_a_line_that_was_cut_off(tmp_path: Path, story):
    path = tmp_path / "history.jsonl"
    with History(path) as history:
        for found in story.records:
            fields = {name: getattr(found, name) for name in found.__struct_fields__ if name != "at"}
            history.note(fields.pop("kind"), fields.pop("what"), **fields)
    assert check_file(path).violations == []
    whole = list(read(path))
    path.write_bytes(path.read_bytes()[:-5])
    assert list(read(path)) == whole[:-1]
