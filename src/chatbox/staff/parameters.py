"""What staff ask of the list of sessions and of the figures: the same names, values and refusals by HTTP and on the
staff socket."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from chatbox.errors import InvalidFormat
from chatbox.storage.overview import MAX_STEPS, MINUTE, SortBy, StaffQuery, grid
from chatbox.strictjson import MAX_INT

DAY = 24 * 60 * MINUTE
STEPS = [MINUTE, 5 * MINUTE, 15 * MINUTE, 60 * MINUTE, 360 * MINUTE, DAY]
"""Steps of a series for which none was named, in ms; beyond them, days."""
POINTS = 200
"""Points of such a series at most."""

_RFC3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST = 253_402_300_799_999


def milliseconds(text: object) -> int:
    """Unix ms of an RFC 3339 time. Raises ``ValueError``."""
    if not isinstance(text, str) or not _RFC3339.fullmatch(text):
        raise ValueError("give an RFC 3339 time with its zone, such as 2026-11-21T08:00:00Z (in a URL, + is %2B)")
    ms = (datetime.fromisoformat(text.upper()) - _EPOCH) // timedelta(milliseconds=1)
    if not 0 <= ms <= _LAST:
        raise ValueError("give a time from 1970 to 9999")
    return ms


Time = Annotated[int, BeforeValidator(milliseconds), WithJsonSchema({"type": "string", "format": "date-time"})]
"""An RFC 3339 time, as Unix ms."""


class Parameters(BaseModel):
    """Names that do not exist are refused: a filter with a slip in it would let everything through."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class UserListParameters(Parameters):
    """Which of a user's sessions. Both ends of the time are included."""

    status: Literal["active", "ended"] | None = None
    admin_assisted: bool | None = None
    help_requested: bool | None = None
    start_time_from: Time | None = None
    start_time_to: Time | None = None
    sort_by: SortBy = SortBy.LAST_ACTIVITY
    sort_order: Literal["asc", "desc"] = "desc"
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    offset: Annotated[int, Field(ge=0, le=MAX_INT)] = 0

    def of(self, user_id: str | None) -> StaffQuery:
        """``user_id``: of this user only. Raises ``InvalidFormat``."""
        if (self.start_time_from or 0) > (_LAST if self.start_time_to is None else self.start_time_to):
            raise InvalidFormat("start_time_from: it is later than start_time_to.")
        return StaffQuery(
            user_id=user_id,
            active=None if self.status is None else self.status == "active",
            admin_assisted=self.admin_assisted,
            help_requested=self.help_requested,
            start_from=self.start_time_from,
            start_to=self.start_time_to,
            sort_by=self.sort_by,
            descending=self.sort_order == "desc",
            limit=self.limit,
            offset=self.offset,
        )


class ListParameters(UserListParameters):
    """Which sessions."""

    user_id: Annotated[str | None, Field(max_length=128)] = None

    def query(self) -> StaffQuery:
        """Raises ``InvalidFormat``."""
        return self.of(self.user_id)


class PeriodParameters(Parameters):
    """The last 24 hours unless said otherwise."""

    start_time: Time | None = None
    end_time: Time | None = None

    def period(self, now: int) -> tuple[int, int]:
        """Start and end (Unix ms). Raises ``InvalidFormat``."""
        end = now if self.end_time is None else self.end_time
        start = max(0, end - DAY) if self.start_time is None else self.start_time
        if start > end:
            raise InvalidFormat("start_time: it is later than end_time.")
        return start, end


class SeriesParameters(PeriodParameters):
    """``step`` in seconds; unless given, one that leaves some hundred points."""

    step: Annotated[int | None, Field(ge=60, le=MAX_INT // 1000)] = None

    def steps(self, now: int) -> tuple[int, int, int]:
        """Start, end and step (whole minutes, from an hour on whole hours), all in ms. Raises ``InvalidFormat``."""
        start, end = self.period(now)
        step = _step_for(end - start) if self.step is None else self.step * 1000
        if (end - start) // step > MAX_STEPS - 1:
            raise InvalidFormat(f"step: the period has more than {MAX_STEPS} of them. Make it longer.")
        return start, end, grid(start, end, step).step


P = TypeVar("P", bound=Parameters)


def asked(kind: type[P], given: Mapping[str, str]) -> P:
    """What a frame's metadata asks for. Raises ``InvalidFormat``, which says what is wrong."""
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise InvalidFormat("; ".join(problems)) from None


def _step_for(length: int) -> int:
    for step in STEPS:
        if length <= POINTS * step:
            return step
    return DAY * -(-length // (POINTS * DAY))
