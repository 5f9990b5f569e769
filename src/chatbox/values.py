"""What a setting's value may look like: types that read text from the environment and plain values from a file.

Each type carries a ``Kind``: its description in the words that error messages and the reference page use.
"""

from __future__ import annotations

import ipaddress
import math
import re
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from chatbox.hours import spans_of, zone_of

UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
LONGEST = 366 * 86400.0

_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h|d)")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:[a-z0-9_]+(?:[.-]+[a-z0-9_]+)*|\[[0-9a-f:.]+\])(?::[1-9][0-9]{0,4})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")
_ATOM = r"[\w!#$%&'*+/=?^`{|}~-]+"
_HOST_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"{_ATOM}(?:\.{_ATOM})*@{_HOST_LABEL}(?:\.{_HOST_LABEL})*")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class Kind(NamedTuple):
    """What a value is, in words: "give <words>"."""

    words: str


def seconds(value: object) -> object:
    """``1h30m``, ``100ms`` or a plain number of seconds from Python or TOML, as seconds."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("not a duration")
    number = float(value) if isinstance(value, int | float) else _parsed(value.strip())
    if not math.isfinite(number) or not 0 < number <= LONGEST:
        raise ValueError("not above 0 and at most 366 days")
    return number


def _parsed(text: str) -> float:
    parts = _DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError("not a number with a unit")
    units = list(UNITS)
    ranks = [units.index(unit) for _, unit in parts]
    if any(later >= earlier for earlier, later in pairwise(ranks)):
        raise ValueError("the units do not go from large to small, each once")
    return sum(float(number) * UNITS[unit] for number, unit in parts)


def duration_text(value: float) -> str:
    """Seconds as a user would write them: 5400.0 is ``1h30m``."""
    left, text = round(value * 1000), ""
    for unit in reversed(UNITS):
        size = round(UNITS[unit] * 1000)
        if left >= size:
            text += f"{left // size}{unit}"
            left %= size
    return text or "0s"


def _whole(value: object) -> object:
    if isinstance(value, bool | float) or (isinstance(value, str) and not re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value)):
        raise ValueError("not a whole number")
    return value


def _folder(value: object) -> object:
    if isinstance(value, str) and (not value.strip() or not value.isprintable()):
        raise ValueError("not a folder's name")
    return value


def _number(value: object) -> object:
    if value is None or value == "":
        return None
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


def listed(value: object) -> object:
    """A comma list as a tuple; lists and tuples as they are."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


def _plain(value: str) -> str:
    if any(ord(character) < 32 and character not in "\n\t" for character in value):
        raise ValueError("contains a control character")
    return value


def _secret(value: object) -> object:
    text = value.get_secret_value() if isinstance(value, SecretStr) else value
    if text in (None, ""):
        return None
    if not isinstance(text, str):
        raise ValueError("not text")
    if text != text.strip() or not text.isprintable():
        raise ValueError("begins or ends with white space, or contains a line break or a control character")
    return value


def _origin(value: str) -> str:
    if value == "*" or "*" in value:
        raise ValueError("a wildcard would let in foreign pages; name each origin")
    if not _ORIGIN.fullmatch(value):
        raise ValueError(
            "an origin is scheme://host or scheme://host:port in small letters, without a path or a slash at the end"
        )
    if (value.startswith("https://") and value.endswith(":443")) or (
        value.startswith("http://") and value.endswith(":80")
    ):
        raise ValueError("browsers leave the usual port out of an origin; so must this")
    return value


def _prefix(value: str) -> str:
    trimmed = value.removesuffix("/")
    if not value.startswith("/") or not _PREFIX.fullmatch(trimmed):
        raise ValueError("not a path")
    return trimmed


def _url(*schemes: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            good = parts.scheme in schemes and bool(parts.hostname or parts.scheme in ("unix", "sqlite"))
            _ = parts.port
        except ValueError:
            good = False
        if not good or not value.isprintable() or " " in value:
            raise ValueError("not such an address")
        return value

    return check


def _store(value: str) -> str:
    if value.startswith("sqlite:") and (not re.match(r"sqlite:///.", value) or value.endswith("/")):
        raise ValueError("sqlite needs three slashes and a file, four for an absolute path")
    return value


def _matching(pattern: re.Pattern[str], what: str) -> Callable[[str], str]:
    def check(value: str) -> str:
        if value and not pattern.fullmatch(value):
            raise ValueError(what)
        return value

    return check


def _network(value: object) -> object:
    if isinstance(value, Network):
        return value
    try:
        return ipaddress.ip_network(str(value).strip())
    except ValueError as error:
        raise ValueError("not an address or a network in CIDR form, or it has bits set past its prefix") from error


def _hours(value: str) -> str:
    spans_of(value)
    return value


def _zone(value: str) -> str:
    zone_of(value)
    return value


DURATION = "a duration with units, at most 366 days"
SECRECY = "a secret on one line, without white space around it"
_URL = "an address beginning with "
_LIST = "a comma list of "

Seconds = Annotated[float, BeforeValidator(seconds), Kind(DURATION)]
Whole = Annotated[int, BeforeValidator(_whole)]
Count = Annotated[Whole, Field(ge=1, le=2**53), Kind("a whole number from 1")]
CountOrNone = Annotated[Whole, Field(ge=0, le=2**53), Kind("a whole number from 0")]
PortNumber = Annotated[Whole, Field(ge=0, le=65535), Kind("a port from 1 to 65535")]
Flag = Annotated[bool, Kind("true or false")]
Text = Annotated[str, AfterValidator(_plain), Kind("text")]
Secret = Annotated[SecretStr | None, BeforeValidator(_secret), Kind(SECRECY)]
Folder = Annotated[Path, BeforeValidator(_folder), Kind("a folder")]
Label = Annotated[Text, Field(min_length=1, max_length=100), Kind("text of 1 to 100 characters")]
Temperature = Annotated[
    Annotated[float, Field(ge=0, le=2)] | None, BeforeValidator(_number), Kind("a number from 0 to 2")
]
Prefix = Annotated[str, AfterValidator(_prefix), Kind("a path that begins with /, of letters, digits and . _ ~ -")]
HttpUrl = Annotated[str, AfterValidator(_url("http", "https")), Kind(_URL + "https:// or http://")]
RedisUrl = Annotated[
    str, AfterValidator(_url("redis", "rediss", "unix")), Kind(_URL + "redis://, rediss:// or unix://")
]
MongoUrl = Annotated[str, AfterValidator(_url("mongodb", "mongodb+srv")), Kind(_URL + "mongodb:// or mongodb+srv://")]
StoreUrl = Annotated[
    str,
    AfterValidator(_store),
    AfterValidator(_url("sqlite", "mongodb", "mongodb+srv")),
    Kind(_URL + "sqlite:/// or mongodb://"),
]
Origins = Annotated[
    tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(listed), Kind(_LIST + "origins")
]
Emails = Annotated[
    tuple[Annotated[str, AfterValidator(_matching(_EMAIL, "not an e-mail address"))], ...],
    BeforeValidator(listed),
    Kind(_LIST + "e-mail addresses"),
]
Email = Annotated[str, AfterValidator(_matching(_EMAIL, "not an e-mail address")), Kind("an e-mail address")]
_phone = AfterValidator(_matching(_PHONE, "not a phone number with + and country code"))
Phone = Annotated[str, _phone, Kind("a phone number with + and country code")]
Phones = Annotated[tuple[Annotated[str, _phone], ...], BeforeValidator(listed), Kind(_LIST + "phone numbers")]
WeekHours = Annotated[str, AfterValidator(_hours), Kind(_LIST + "days and times")]
TimeZone = Annotated[str, AfterValidator(_zone), Kind("the name of a time zone")]
Networks = Annotated[
    tuple[Annotated[Network, BeforeValidator(_network)], ...],
    BeforeValidator(listed),
    Kind(_LIST + "addresses and networks"),
]
