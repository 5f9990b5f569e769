"""Figures of all conversations in a period, and how they went on."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field

from chatbox.api.guard import StaffGuard
from chatbox.protocol import rfc3339
from chatbox.session import now_ms
from chatbox.staff.figures import BucketView, FiguresView, TimeRange
from chatbox.staff.parameters import PeriodParameters, SeriesParameters
from chatbox.storage.base import Storage


class Series(BaseModel):
    series: list[BucketView]
    step: int = Field(description="seconds")
    time_range: TimeRange


def routes(guard: StaffGuard, storage: Storage) -> APIRouter:
    """Figures, and series of them."""
    router = APIRouter(dependencies=[Depends(guard)])

    @router.get("/metrics")
    async def figures(asked: Annotated[PeriodParameters, Query()]) -> FiguresView:
        """The figures of a period; the last 24 hours unless given."""
        now = now_ms()
        start, end = asked.period(now)
        return FiguresView.of(await storage.overview.figures(start, end, now), start, end)

    @router.get("/series")
    async def series(asked: Annotated[SeriesParameters, Query()]) -> Series:
        """The figures of a period in steps, for charts: at most 2,000 of them, each a minute or longer."""
        now = now_ms()
        start, end, step = asked.steps(now)
        found = await storage.overview.series(start, end, step, now)
        return Series(
            series=[BucketView.of(bucket) for bucket in found],
            step=step // 1000,
            time_range=TimeRange(start=rfc3339(start), end=rfc3339(end)),
        )

    return router
