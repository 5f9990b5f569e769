"""The benchmark judges answers rightly, and all of it works."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from openai import AsyncOpenAI

from bench.figures import Figure, Result
from bench.process import LOAD_CORE, Others, Process, family, first_line, started
from bench.results import SHORTFALLS, as_json, markdown, setting
from bench.script import Stream, parse
from bench.server import model
from bench.tally import Tally, percentile
from chatbox.llm.sse import EventDecoder

ROOT = Path(__file__).parents[2]


def text(*numbers: int, sent: int = 1) -> str:
    return "".join(f"{number:04x}@{sent + place:016x} " for place, number in enumerate(numbers))


def judged(*answers: str, tokens: int = 3) -> Tally:
    tally = Tally(tokens)
    for answer in answers:
        tally.answer(answer)
    tally.judge()
    return tally


def test_a_token_tells_its_number_and_its_time_of_sending() -> None:
    parsed = parse(text(0, 1, 0xFFFF, sent=7))
    assert parsed.whole
    assert parsed.tokens == [(0, 7), (1, 8), (0xFFFF, 9)]


def test_an_answer_is_exact_when_it_is_what_was_sent() -> None:
    tally = judged(text(0, 1, 2))
    assert (tally.exact, tally.lost, tally.doubled, tally.tokens) == (1, 0, 0, 3)
    assert tally.problems(1) == []


@pytest.mark.parametrize(
    ("answer", "lost", "doubled"),
    [
        (text(0, 2), 1, 0),
        (text(0, 1, 1, 2), 0, 1),
        (text(0, 2, 1), 0, 0),
        (text(0, 1, 2) + "more", 0, 0),
        (text(2, sent=1) + text(1, 0, sent=9), 0, 0),
        ("", 3, 0),
    ],
    ids=["lost", "doubled", "out of order", "foreign text", "reversed", "nothing"],
)
def test_a_wrong_answer_is_told(answer: str, lost: int, doubled: int) -> None:
    tally = judged(answer)
    assert (tally.exact, tally.lost, tally.doubled) == (0, lost, doubled)
    assert len(tally.problems(1)) == 1


def test_an_answer_that_never_came_is_told() -> None:
    assert judged(text(0, 1, 2)).problems(2)


def test_whatever_else_went_wrong_is_told() -> None:
    tally = judged(text(0, 1, 2))
    tally.wrong["disconnected"] += 2
    assert tally.problems(1) == ["2 times: disconnected"]


def test_delays_are_from_sending_to_reading() -> None:
    tally = Tally(2)
    tally.piece(text(0, sent=1_000_000), now=3_500_000)
    assert list(tally.delays) == [2.5]


def test_a_percentile_is_a_measured_value() -> None:
    assert [percentile([3, 1, 2], share) for share in (0.0, 0.5, 0.99, 1.0)] == [1, 2, 3, 3]


def test_the_script_is_an_event_stream_with_every_token_once() -> None:
    stream = Stream(300)
    body = b"".join(unchunked(part) for part in (*map(stream.token, range(300)), stream.tail))
    events = [event.data for event in EventDecoder().feed(body)]
    assert events[-1] == b"[DONE]"
    assert [number for number, _ in parse(b"".join(events).decode()).tokens] == list(range(300))


def unchunked(data: bytes) -> bytes:
    """The content of a part that is a chunk, maybe with the end of the body after it."""
    size, _, rest = data.partition(b"\r\n")
    return rest[: int(size, 16)]


@pytest.mark.parametrize("rate", [0.0, 500.0], ids=["unthrottled", "paced"])
async def test_the_scripted_model_serves_the_vendors_own_client(rate: float) -> None:
    async with model(tokens=100, rate=rate) as speaker:
        client = AsyncOpenAI(api_key="k", base_url=f"http://127.0.0.1:{speaker.port}/v1", max_retries=0)
        async with client:
            for _ in range(2):
                stream = await client.chat.completions.create(
                    model="scripted", messages=[{"role": "user", "content": "hi"}], stream=True
                )
                chunks = [chunk async for chunk in stream]
        assert await speaker.late() >= 0
    said = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert judged(said, tokens=100).exact == 1
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].usage.completion_tokens == 100


async def test_a_process_is_measured_with_what_it_has_started() -> None:
    waits = "import os, time; own = os.getppid(); print(1, flush=True)\nwhile os.getppid() == own: time.sleep(0.01)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waits!r}])"
    async with started(LOAD_CORE, "-c", child) as process:
        assert await first_line(process) == "1"
        assert len(family(process.pid)) == 2
        assert Process(process.pid).rss() > 2 * 4096


def test_what_other_programs_use_of_the_machine_is_told_without_what_the_benchmark_uses() -> None:
    work = "import time\nwhile time.process_time() < 0.5: pass"
    others, begun = Others(), time.monotonic()
    subprocess.run([sys.executable, "-c", work], check=True)
    assert 0 <= others.share() <= 1 - 0.4 / (time.monotonic() - begun) / (os.cpu_count() or 1)


async def test_a_program_that_does_not_start_is_told() -> None:
    async with started(LOAD_CORE, "-c", "pass") as process:
        with pytest.raises(RuntimeError, match="did not start"):
            await first_line(process)


def test_a_figure_is_held_against_its_marks_in_the_right_direction() -> None:
    small, big = Figure("w2.cpu", [60, 44, 80]), Figure("w3.rate", [40_000])
    assert (small.median, small.range) == (60, (44, 80))
    assert [small.reaches(mark) for mark in (small.mark.reach, small.mark.then, None)] == [True, False, None]
    assert [big.reaches(mark) for mark in (big.mark.reach, big.mark.then)] == [True, False]


def test_the_results_page_has_every_figure_every_remark_and_the_kept_section() -> None:
    results = {"W2": Result([Figure("w2.cpu", [60, 70, 80])], ["one token lost"], ["the load was saturated"])}
    page = markdown(results, setting("python -m bench", pinned=True))
    assert "| CPU a token | 70 µs | 60 to 80 | ≤70 ✓ | ≤45 ✗ |" in page
    assert "one token lost" in page
    assert "the load was saturated" in page
    assert SHORTFALLS.read_text().rstrip() in page


def test_the_values_are_kept_as_json() -> None:
    assert '"values": [\n' in as_json({"W2": Result([Figure("w2.cpu", [60])])}, setting("x", pinned=False))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_every_work_runs_small_and_no_answer_is_wrong(tmp_path: Path) -> None:
    values = tmp_path / "values.json"
    command = [sys.executable, "-m", "bench", "--quick", "--json", values]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert values.exists()
