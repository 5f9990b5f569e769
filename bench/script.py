"""What the scripted model says, and how its tokens are told apart again.

A token is its number in the answer, the time when it was sent, and a space: ``0042@18a9f3c2d1e0b5f7 ``. So every token
says whether it is lost, doubled or out of order, and how long it was under way.
"""

from __future__ import annotations

import json
import re
import time
from typing import NamedTuple

MAX_TOKENS = 0x10000
TOKEN = re.compile(r"([0-9a-f]{4})@([0-9a-f]{16}) ")

_NUMBER, _TIME = "ffff", "f" * 16


class Token(NamedTuple):
    """``sent`` is Unix time in ns, by the clock of the machine that all processes share."""

    number: int
    sent: int


class Parsed(NamedTuple):
    """The tokens of a text in its order; ``whole`` when the text is nothing but these."""

    tokens: list[Token]
    whole: bool


def parse(text: str) -> Parsed:
    tokens = [Token(int(number, 16), int(sent, 16)) for number, sent in TOKEN.findall(text)]
    return Parsed(tokens, len(text) == len(tokens) * len(f"{_NUMBER}@{_TIME} "))


class Stream:
    """One answer as an event stream in HTTP chunks, prepared so that a token costs the model next to nothing."""

    def __init__(self, tokens: int) -> None:
        if not 0 < tokens <= MAX_TOKENS:
            raise ValueError(f"an answer has 1 to {MAX_TOKENS} tokens")
        self.tokens = tokens
        self.head = _HEAD + _chunk(_event({"role": "assistant", "content": ""}))
        end = _event({}, finish="stop") + _event(None, usage=tokens) + b"data: [DONE]\n\n"
        self.tail = _chunk(end) + b"0\r\n\r\n"
        template = _chunk(_event({"content": f"{_NUMBER}@{_TIME} "}))
        self._before, self._after = template.split(f"{_NUMBER}@{_TIME} ".encode())

    def token(self, number: int) -> bytes:
        """The chunk of one token, stamped now."""
        return b"%s%04x@%016x %s" % (self._before, number, time.time_ns(), self._after)


_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(delta: dict[str, str] | None, finish: str | None = None, usage: int | None = None) -> bytes:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]
    counts = usage and {"prompt_tokens": 1, "completion_tokens": usage, "total_tokens": usage + 1}
    body = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "scripted",
        "choices": choices,
        "usage": counts,
    }
    return b"data: %s\n\n" % json.dumps(body, separators=(",", ":")).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)
