from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from chatbox.errors import ProviderRefused
from chatbox.llm.sse import EventDecoder


def events(*reads: bytes, limit: int = 1 << 20) -> list[tuple[str, bytes]]:
    decoder = EventDecoder(limit)
    return [(event.name, event.data) for read in reads for event in decoder.feed(read)]


def cut(stream: bytes, at: list[int]) -> list[bytes]:
    places = sorted({min(place, len(stream)) for place in at})
    return [stream[a:b] for a, b in zip([0, *places], [*places, len(stream)], strict=True)]


def by_the_book(stream: str) -> list[tuple[str, bytes]]:
    """The standard's algorithm, line by line and character by character, for comparison."""
    stream = stream.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    found, name, data = [], "", []
    for line in stream.split("\n")[:-1]:
        if not line:
            if data:
                found.append((name or "message", "\n".join(data).encode()))
            name, data = "", []
            continue
        field, colon, value = line.partition(":")
        value = value[1:] if colon and value[:1] == " " else value
        if field == "data":
            data.append(value)
        elif field == "event":
            name = value
    return found


LINES = st.lists(
    st.sampled_from(
        [
            "data: {}",
            "data:x",
            "data",
            "data: ",
            "data:  two",
            "data: é€😀",
            "event: ping",
            "event:",
            ": comment",
            ":",
            "id: 7",
            "retry: 10",
            "datas: no",
            " data: no",
            "nonsense",
            "\ufeffdata: not a mark",
            "",
            "",
            "",
            "",
        ]
    )
)
STREAMS = st.builds(
    lambda mark, lines, ends: mark + "".join(a + b for a, b in zip(lines, ends, strict=False)),
    st.sampled_from(["", "\ufeff"]),
    LINES,
    st.lists(st.sampled_from(["\n", "\r", "\r\n"]), min_size=60, max_size=60),
)


@given(STREAMS, st.lists(st.integers(0, 400)))
@example("data: a\r\n\r\ndata: b\r\r", [8, 9, 10])
@example("\ufeffdata: a\n\n", [1, 2])
@example("\n\n\ndata: a\n\n\n\ndata: b\n\n", [1, 4])
def test_any_split_gives_the_events_of_the_standard(stream: str, at: list[int]) -> None:
    assert events(*cut(stream.encode(), at)) == by_the_book(stream)


@given(STREAMS)
def test_one_byte_at_a_time_gives_the_same_events(stream: str) -> None:
    whole = stream.encode()
    assert events(*[whole[i : i + 1] for i in range(len(whole))]) == by_the_book(stream)


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_read_alike_however_they_come(reads: list[bytes]) -> None:
    assert events(*reads) == events(b"".join(reads))


def test_a_character_that_comes_in_two_reads_stays_whole() -> None:
    stream = 'data: "😀"\n\n'.encode()
    assert events(stream[:9], stream[9:]) == [("message", '"😀"'.encode())]


def test_many_events_in_one_read_come_in_order() -> None:
    assert [data for _, data in events(b"".join(b"data: %d\n\n" % n for n in range(500)))] == [
        b"%d" % n for n in range(500)
    ]


def test_an_event_that_the_end_cuts_off_is_not_seen() -> None:
    assert events(b"data: one\n\ndata: two\n") == [("message", b"one")]


def test_lines_of_data_are_joined() -> None:
    assert events(b"event: add\ndata: a\ndata: b\n\n") == [("add", b"a\nb")]


def test_an_event_without_data_is_none() -> None:
    assert events(b"event: ping\n\n") == []


def test_an_event_of_the_greatest_size_passes_and_one_byte_more_does_not() -> None:
    assert events(b"data: " + b"x" * 94 + b"\n\n", limit=100) == [("message", b"x" * 94)]
    with pytest.raises(ProviderRefused, match="more than 100 bytes"):
        events(b"data: " + b"x" * 95 + b"\n\n", limit=100)


def test_a_line_without_an_end_is_refused_before_it_fills_the_memory() -> None:
    with pytest.raises(ProviderRefused):
        events(*[b"x" * 10] * 1000, limit=1000)


def test_comments_without_an_end_are_refused_too() -> None:
    with pytest.raises(ProviderRefused):
        events(*[b": keep alive\n"] * 100, limit=1000)
