"""Log lines: one pipeline, nothing private in it, nothing raised by it."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import stat
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from chatbox.auth import mint
from chatbox.logs import Pipeline, Sink, configured, context
from chatbox.redaction import LONGEST_TEXT, MASK, clean_text, redacted
from chatbox.session import Entry, Kind, Sender

CANARY = "the canary sings at midnight"
TOKEN = mint("uN9xk2Lq7vRz4TfWb8YpHs3GdJc6MaEe", "u1", CANARY, ["admin"], 60)
KEY = "8f2d" * 16

log = structlog.get_logger(component="tests")


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "chatbox.log"
    with configured("debug", "json", str(path)):
        yield path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_has_time_level_component_and_what_was_said(file: Path) -> None:
    log.info("a session was created", count=3)
    (line,) = lines(file)
    assert line["timestamp"].endswith("Z")
    assert {k: v for k, v in line.items() if k != "timestamp"} == {
        "level": "info",
        "event": "a session was created",
        "component": "tests",
        "count": 3,
    }


async def test_lines_carry_the_user_and_session_of_their_own_connection(file: Path) -> None:
    async def connection(user: str) -> None:
        with context(user=user, session=f"s-{user}"):
            await asyncio.sleep(0)
            log.info("said")

    await asyncio.gather(connection("a"), connection("b"))
    log.info("outside")
    mine = [line for line in lines(file) if line.get("component") == "tests"]
    assert [(line.get("user"), line.get("session")) for line in mine] == [("a", "s-a"), ("b", "s-b"), (None, None)]


def test_lines_below_the_level_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with configured("warning", "json", str(path)):
        log.info("no")
        logging.getLogger("uvicorn").info("no")
        log.warning("yes")
        logging.getLogger("uvicorn").error("yes")
    assert [line["event"] for line in lines(path)] == ["yes", "yes"]


def test_libraries_lines_go_the_same_way(file: Path) -> None:
    with context(session="s1"):
        logging.getLogger("uvicorn.error").warning("closing %s with %r", "socket", f"?token={TOKEN}")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("old ways", DeprecationWarning, stacklevel=1)
    first, second = lines(file)
    assert (first["level"], first["logger"], first["session"]) == ("warning", "uvicorn.error", "s1")
    assert first["event"] == f"closing socket with '?token={MASK}'"
    assert "old ways" in second["event"]


def test_what_libraries_say_for_debugging_is_not_written(file: Path) -> None:
    logging.getLogger("uvicorn.error").debug("< TEXT '%s'", CANARY)
    assert not logging.getLogger("websockets").isEnabledFor(logging.DEBUG)
    log.debug("ours")
    assert [line["event"] for line in lines(file)] == ["ours"]


def test_a_failure_is_logged_with_its_traceback_on_one_line(file: Path) -> None:
    for logger in (log, logging.getLogger("aiohttp.client")):
        try:
            raise ValueError(f"bad token {TOKEN}")
        except ValueError:
            logger.exception("it failed")
    for line in lines(file):
        assert line["level"] == "error"
        assert "Traceback" in line["exception"]
        assert "ValueError" in line["exception"]
        assert "eyJ" not in line["exception"]


SECRETS: list[dict[str, Any]] = [
    {"content": CANARY},
    {"text": CANARY, "prompt": CANARY, "messages": [CANARY], "name": CANARY, "title": CANARY, "user_name": CANARY},
    {"Content": CANARY, "NAME": CANARY},
    {"entry": {"content": CANARY, "inner": [{"name": CANARY}]}},
    {"deep": [[[[[[[CANARY]]]]]]]},
    {"entry": Entry(session_id="s", kind=Kind.USER_MESSAGE, message_id="m", sender=Sender.USER, content=CANARY)},
    {"raw": CANARY.encode()},
    {"secret": SecretStr(CANARY)},
    {"token": TOKEN},
    {"detail": f"refused {TOKEN}"},
    {"detail": f"Authorization: Bearer {CANARY.replace(' ', '')}"},
    {"detail": f"chatbox.v1, bearer.{TOKEN}"},
    {"path": f"/chatbox/ws?session_id=s1&token={TOKEN}"},
    {"path": f"/chatbox/ws?token={CANARY.replace(' ', '+')}&client=1"},
    {"path": f"/chatbox/#token={TOKEN}"},
    {"path": f"/chatbox/sessions?q={CANARY.replace(' ', '%20')}"},
    {"path": "/chatbox/s/thecanarysingsatmidnight"},
    {"path": "/chatbox/shared/thecanarysingsatmidnight"},
    {"url": "https://s3.example.com/f?X-Amz-Signature=thecanarysings&X-Amz-Expires=60"},
    {"url": "/files/1?expires=9&signature=thecanarysings"},
    {"url": "/files/1?expires=9&sig=thecanarysings"},
    {"url": "redis://:thecanarysings@redis:6379/0"},
    {"url": "mongodb://chat:thecanarysings@db/x"},
    {"env": {"JWT_SECRET": "thecanarysings", "SMTP_PASS": "thecanarysings", "S3_SECRET_ACCESS_KEY": "thecanarysings"}},
    {"detail": "api_key=thecanarysings rejected"},
    {"detail": 'provider said {"api_key": "thecanarysings"}'},
    {"detail": f"key {KEY} unknown"},
    {"detail": "Incorrect API key provided: sk-thecanarysings"},
    {"headers": {"cookie": "thecanarysings"}},
    {"Authorization": "thecanarysings"},
    {TOKEN: 1},
]


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize("fields", SECRETS, ids=range(len(SECRETS)))
def test_what_is_private_does_not_reach_a_line(tmp_path: Path, style: str, fields: dict[str, Any]) -> None:
    path = tmp_path / "log"
    with configured("debug", style, str(path)):
        log.info("said", **fields)
        for value in fields.values():
            if isinstance(value, str) and "Authorization" not in fields and value != CANARY:
                log.info(value)
                logging.getLogger("x").info("%s", value)
    text = path.read_text().lower()
    assert "said" in text
    for canary in ("canary", "midnight", TOKEN.split(".")[1].lower(), KEY):
        assert canary not in text


@pytest.mark.parametrize(
    "fields",
    [{"tokens": 5}, {"max_tokens": 9}, {"name": 3}, {"seq": 1 << 20}, {"took": 0.25}, {"ok": True}, {"who": None}],
)
def test_numbers_are_counts_and_stay(file: Path, fields: dict[str, Any]) -> None:
    log.info("counted", **fields)
    assert fields.items() <= lines(file)[0].items()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (Path("/srv/chat.db"), "/srv/chat.db"),
        (Path(f"/srv/?token={TOKEN}"), f"/srv/?token={MASK}"),
        (ValueError(f"bad {TOKEN}"), f"ValueError: bad {MASK}"),
        (Kind.TURN, "turn"),
        (object(), "<object>"),
        (b"12345", "<bytes>"),
    ],
)
def test_of_an_object_only_what_is_known_to_be_harmless_is_shown(file: Path, value: object, shown: str) -> None:
    log.info("said", value=value)
    assert lines(file)[0]["value"] == shown


@pytest.mark.parametrize(
    "text",
    [
        "a session was created",
        "GET /chatbox/sessions/abc?limit=5",
        "https://www.example.com:8080/x",
        "status=429 after 3 tries",
    ],
)
def test_ordinary_text_is_left_as_it_is(text: str) -> None:
    assert clean_text(text) == text


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def endless() -> dict[str, Any]:
    loop: dict[str, Any] = {}
    loop["again"] = loop
    return loop


@pytest.mark.parametrize("style", ["json", "console"])
@pytest.mark.parametrize(
    "value",
    [
        Hostile(),
        endless(),
        "\ud800",
        "\x00\x1b[31m",
        1 << 100,
        float("nan"),
        b"\xff",
        {1: 2, None: 3},
        {Hostile},
        object,
        io,
    ],
    ids=range(11),
)
def test_nothing_that_is_logged_makes_logging_fail(tmp_path: Path, style: str, value: object) -> None:
    path = tmp_path / "log"
    with configured("debug", style, str(path)):
        log.info("said", value=value)
        log.info(value)
        logging.getLogger("x").info("said %s", value)
        logging.getLogger("x").info("said %d %s", "too", "few", "many")
    assert len(path.read_text().splitlines()) == 4


def test_a_line_that_cannot_be_made_says_so(file: Path) -> None:
    log.info("said", value={Hostile(): 1})
    assert lines(file)[0]["event"] == "a line was lost"


def test_a_full_disk_or_a_closed_stream_does_not_reach_who_logs() -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123 - a device
        Sink(full).msg("x")
        stream = io.StringIO()
        stream.close()
        Sink(stream).msg("x")
        with pytest.raises(OSError, match="space"):
            full.flush()
        os.dup2(os.open(os.devnull, os.O_WRONLY), full.fileno())


@pytest.mark.parametrize("style", ["json", "console"])
def test_a_line_cannot_forge_another_or_steer_the_terminal(tmp_path: Path, style: str) -> None:
    path = tmp_path / "log"
    with configured("info", style, str(path)):
        log.info("one\n2026-01-01 [error] forged", client="x\r\nforged \x1b[2J", inner=["\n\x1b["])
    text = path.read_text()
    assert text.count("\n") == 1
    assert "\x1b" not in text
    assert "\r" not in text


def test_a_long_text_is_cut() -> None:
    assert len(clean_text("a b " * LONGEST_TEXT)) == LONGEST_TEXT + 1


@pytest.mark.parametrize(
    "piece",
    [
        "eyJ",
        "eyJa.",
        "bearer ",
        "://",
        "://a",
        "://a:",
        "?token=",
        "?a-",
        "key",
        "a_",
        "a-",
        "/s/",
        "sk-",
        "f",
        "password",
    ],
)
def test_redaction_of_hostile_text_takes_little_time(piece: str) -> None:
    began = time.perf_counter()
    clean_text(piece * LONGEST_TEXT)
    assert time.perf_counter() - began < 0.5


@given(
    st.dictionaries(
        st.text(max_size=10),
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=10,
        ),
    )
)
@settings(max_examples=200)
def test_any_event_becomes_one_line(event: dict[str, Any]) -> None:
    stream = io.StringIO()
    pipeline = Pipeline(Sink(stream), console=False)
    line = pipeline(None, "info", {**event, "event": "said"})
    assert "\n" not in line
    assert json.loads(line)["event"] == "said"


@given(
    st.text(min_size=12, max_size=50),
    st.sampled_from(["content", "name", "token", "prompt", "my_api_key", "smtp_pass"]),
)
@settings(max_examples=100)
def test_a_private_field_never_shows_its_text(text: str, field: str) -> None:
    assert redacted({"outer": {field: text}}) == {"outer": {field: MASK}}


def test_the_log_file_is_appended_to_and_belongs_to_its_owner(tmp_path: Path) -> None:
    path = tmp_path / "log"
    for _ in range(2):
        with configured("info", "json", str(path)):
            log.info("started")
    assert len(lines(path)) == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_log_file_that_cannot_be_opened_is_told_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="log"), configured("info", "json", str(tmp_path / "none" / "log")):
        pass


def test_without_a_terminal_lines_are_json_on_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    with configured("info", "auto"):
        log.info("started")
    assert json.loads(capsys.readouterr().err)["event"] == "started"


def test_the_libraries_logging_is_as_before_when_ours_ends(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    with configured("debug", "console", str(tmp_path / "log")):
        assert root.handlers != before[1]
    assert (root.level, root.handlers) == before
