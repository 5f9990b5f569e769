"""For operators and load balancers: health, readiness, metrics, and what the pages need to know."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse

from chatbox import __version__
from chatbox.api.models import Health as HealthView
from chatbox.api.models import Readiness
from chatbox.errors import Forbidden
from chatbox.health import Health
from chatbox.metrics import CONTENT_TYPE, Metrics
from chatbox.protocol import rfc3339
from chatbox.session import now_ms

Networks = Sequence[IPv4Network | IPv6Network]


def routes(health: Health, metrics: Metrics, networks: Networks, page: dict[str, Any]) -> APIRouter:
    """``page`` is what ``page.json`` answers, beside the version."""
    router = APIRouter(tags=["operations"])

    @router.get("/healthz")
    async def healthz() -> HealthView:
        """Whether the process lives; depends on nothing else."""
        return HealthView(status="healthy", timestamp=rfc3339(now_ms()))

    @router.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
    async def readyz() -> JSONResponse:
        """Whether the process can do its work; at most 1 s old."""
        ready, checks = await health.ready()
        body = {"status": "ready" if ready else "not ready", "timestamp": rfc3339(now_ms()), "checks": checks}
        return JSONResponse(body, 200 if ready else 503)

    @router.get("/metrics/prometheus", response_class=Response)
    async def prometheus(request: Request) -> Response:
        """Prometheus metrics, from the allowed networks only."""
        if not _inside(request, networks):
            raise Forbidden("Metrics are not for this address.")
        return Response(metrics.render(), media_type=CONTENT_TYPE)

    @router.get("/page.json")
    async def page_settings() -> dict[str, Any]:
        """What the pages need to know before anyone has signed in."""
        return {**page, "version": __version__}

    return router


def _inside(request: Request, networks: Networks) -> bool:
    try:
        address = ip_address(request.client.host if request.client else "")
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)
