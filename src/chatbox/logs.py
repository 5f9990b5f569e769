"""Where log lines go and what they look like: one pipeline for our own and for those of the libraries.

A line is an event with fields: JSON for machines, coloured text for a terminal. Whoever serves a connection sets its
user, session and component once, by ``context``. Nothing private leaves (``chatbox.redaction``), and nothing raises.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

import msgspec
import structlog
from structlog.contextvars import bound_contextvars, merge_contextvars
from structlog.processors import add_log_level, format_exc_info

from chatbox.redaction import redacted

Event = MutableMapping[str, Any]

_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@contextmanager
def configured(level: str, style: str, file: str = "") -> Iterator[None]:
    """Until the block ends, log what is at least ``level`` (``debug`` … ``error``) to ``file``, or to standard error.

    Of libraries nothing below ``info`` is logged. ``style`` is ``json``, ``console`` or ``auto``: the latter on a
    terminal, else the former. Raises ``OSError`` when the file can't be opened.
    """
    with ExitStack() as stack:
        stream = stack.enter_context(_opened(Path(file))) if file else sys.stderr
        pipeline = Pipeline(Sink(stream), style == "console" or (style == "auto" and stream.isatty()))
        number = logging.getLevelNamesMapping()[level.upper()]
        structlog.configure(
            processors=[pipeline],
            wrapper_class=structlog.make_filtering_bound_logger(number),
            logger_factory=lambda *_: pipeline.sink,
            cache_logger_on_first_use=False,
        )
        stack.callback(structlog.reset_defaults)
        # When debugging, libraries write down whole frames and requests: what people said, and their tokens.
        stack.enter_context(_bridged(pipeline, max(number, logging.INFO)))
        yield


def context(**fields: str) -> AbstractContextManager[None]:
    """Fields of every line logged inside the block, by this task and those it starts: ``user``, ``session``, …"""
    return bound_contextvars(**fields)


class Sink:
    """Writes whole lines. One that can't be written (disk full, terminal gone) is lost: there is nobody to tell."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        with self._lock, suppress(OSError, ValueError):
            self.stream.write(line + "\n")
            self.stream.flush()

    debug = info = warning = error = critical = msg


class Pipeline:
    """Makes a line of an event: context, level, time, traceback, redaction, rendering."""

    def __init__(self, sink: Sink, console: bool) -> None:
        self.sink = sink
        self._render = _console(colors=sink.stream.isatty()) if console else _json

    def __call__(self, logger: Any, method: str, event: Event) -> str:
        return safely(lambda: self._line(logger, method, event))

    def _line(self, logger: Any, method: str, event: Event) -> str:
        event = format_exc_info(logger, method, add_log_level(logger, method, merge_contextvars(logger, method, event)))
        ordered = {"timestamp": _now(), "level": event.pop("level"), "event": event.pop("event", ""), **event}
        return self._render(redacted(ordered))


class Bridge(logging.Handler):
    """Passes the standard library's records to the pipeline."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self._pipeline = pipeline

    def emit(self, record: logging.LogRecord) -> None:
        self._pipeline.sink.msg(safely(lambda: self._line(record)))

    def _line(self, record: logging.LogRecord) -> str:
        event: Event = {"event": _message(record), "logger": record.name}
        if record.exc_info:
            event["exc_info"] = record.exc_info
        return self._pipeline(None, record.levelname.lower(), event)


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError, KeyError):
        # Arguments that do not fit their text.
        return str(record.msg)


def safely(line: Callable[[], str]) -> str:
    """The line, or one that says it could not be made."""
    try:
        return line()
    except Exception as error:  # noqa: BLE001 - whoever logs must not fail for what was logged
        return _json({"timestamp": _now(), "level": "error", "event": "a line was lost", "error": type(error).__name__})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _json(event: dict[str, object]) -> str:
    try:
        return msgspec.json.encode(event).decode()
    except (UnicodeEncodeError, OverflowError):
        # Half a character, or a number beyond 64 bits.
        return json.dumps(event)


def _console(*, colors: bool) -> Callable[[dict[str, object]], str]:
    renderer = structlog.dev.ConsoleRenderer(colors=colors)
    return lambda event: str(renderer(None, "", {key: _harmless(key, value) for key, value in event.items()}))


def _harmless(field: str, value: object) -> object:
    """A value that can neither begin a line of its own, but for a traceback, nor steer the terminal."""
    if not isinstance(value, str):
        return value
    text = _CONTROLS.sub("?", value)
    return text if field == "exception" else text.replace("\n", "\\n")


@contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    """The file, made for its owner alone, to append to."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "a", encoding="utf-8", errors="backslashreplace") as stream:
        yield stream


@contextmanager
def _bridged(pipeline: Pipeline, level: int) -> Iterator[None]:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    root.setLevel(level)
    root.handlers[:] = [Bridge(pipeline)]
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.setLevel(before[0])
        root.handlers[:] = before[1]
