"""JSON objects as strict as the wire contract wants them, whoever may have written them."""

from __future__ import annotations

import json
import math
from typing import NoReturn

from chatbox.errors import InvalidFormat

MAX_DEPTH = 32
MAX_INT = 2**53


def loads(text: str) -> dict[str, object]:
    """The object in a text. Raises ``InvalidFormat`` for anything else, and for NaN and infinities, a key that occurs
    twice, half a surrogate pair, more than 32 levels, and integers beyond 2^53."""
    try:
        value = _decoder.decode(text)
        text.encode()
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InvalidFormat("The text has half a surrogate pair.") from None
    except RecursionError:
        raise InvalidFormat("The JSON is nested too deeply.") from None
    except ValueError:
        raise InvalidFormat("This is not valid JSON.") from None
    if _depth(value) > MAX_DEPTH:
        raise InvalidFormat("The JSON is nested too deeply.")
    if not isinstance(value, dict):
        raise InvalidFormat("This is not a JSON object.")
    return value


def _finite(digits: str) -> float:
    if not math.isfinite(number := float(digits)):
        raise InvalidFormat("A number is too large.")
    return number


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise InvalidFormat("A key occurs twice.")
    return found


def _refuse_constant(name: str) -> NoReturn:
    raise InvalidFormat(f"{name} is not JSON.")


def _bounded_int(digits: str) -> int:
    if len(digits) > len(str(-MAX_INT)) or abs(int(digits)) > MAX_INT:
        raise InvalidFormat("An integer is beyond 2^53.")
    return int(digits)


def _depth(value: object) -> int:
    """Levels of objects and arrays; counting stops one past the limit."""
    level, depth = [value], 0
    while depth <= MAX_DEPTH and (boxes := [item for item in level if isinstance(item, dict | list)]):
        depth += 1
        level = [inner for box in boxes for inner in (box.values() if isinstance(box, dict) else box)]
    return depth


_decoder = json.JSONDecoder(
    object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_int=_bounded_int, parse_float=_finite
)
