"""The figures and series of a period as staff get them, by HTTP and on the staff socket. Times are in ms."""

from __future__ import annotations

from pydantic import BaseModel

from chatbox.protocol import rfc3339
from chatbox.storage.overview import Bucket, Figures


class TimeRange(BaseModel):
    start: str
    end: str


class FiguresView(BaseModel):
    """Of a period, but for ``active_sessions``, which are those that are active now.

    Sessions are counted by when they began. ``errors`` are answers that failed; the times of answers are whole ones,
    and up to their first piece.
    """

    total_sessions: int
    active_sessions: int
    avg_concurrent: float
    max_concurrent: int
    total_tokens: int
    avg_response_time: int
    max_response_time: int
    admin_assisted_count: int
    messages: int
    answers: int
    errors: int
    avg_first_token: int
    max_first_token: int
    time_range: TimeRange

    @classmethod
    def of(cls, figures: Figures, start: int, end: int) -> FiguresView:
        tally = figures.tally
        return cls(
            total_sessions=figures.total_sessions,
            active_sessions=figures.active_sessions,
            avg_concurrent=round(figures.avg_concurrent, 2),
            max_concurrent=figures.max_concurrent,
            total_tokens=tally.tokens,
            avg_response_time=tally.avg_response,
            max_response_time=tally.response_max,
            admin_assisted_count=figures.admin_assisted_count,
            messages=tally.messages,
            answers=tally.answers,
            errors=tally.errors,
            avg_first_token=tally.avg_first,
            max_first_token=tally.first_max,
            time_range=TimeRange(start=rfc3339(start), end=rfc3339(end)),
        )


class BucketView(BaseModel):
    """One step of a series."""

    start: str
    sessions: int
    max_concurrent: int
    messages: int
    answers: int
    errors: int
    tokens: int
    avg_response_time: int
    max_response_time: int
    avg_first_token: int
    max_first_token: int

    @classmethod
    def of(cls, bucket: Bucket) -> BucketView:
        tally = bucket.tally
        return cls(
            start=rfc3339(bucket.start),
            sessions=bucket.sessions,
            max_concurrent=bucket.max_concurrent,
            messages=tally.messages,
            answers=tally.answers,
            errors=tally.errors,
            tokens=tally.tokens,
            avg_response_time=tally.avg_response,
            max_response_time=tally.response_max,
            avg_first_token=tally.avg_first,
            max_first_token=tally.first_max,
        )
