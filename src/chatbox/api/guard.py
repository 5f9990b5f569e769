"""Who calls: the principal behind a request, and whether staff's routes are for them."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from fastapi import Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from chatbox.access import Gate
from chatbox.backplane.base import Quotas
from chatbox.errors import Forbidden, InvalidFormat, TooMany
from chatbox.metrics import Metrics
from chatbox.session import STAFF_ROLES, Principal
from chatbox.staff.presence import Presence

ADMIN_REQUESTS = "admin"
"""The window of staff's requests, by member of staff."""

COUNTED = "chatbox.counted"
"""Where a request keeps that it was counted: what reads a body asks who sends it first."""


class Guard(SecurityBase):
    """A dependency that gives the caller of a route. Raises ``InvalidToken``, ``Forbidden``, ``Unavailable``."""

    def __init__(self, gate: Gate) -> None:
        self.model = HTTPBearer(bearerFormat="JWT", description="The parent application's token.")
        self.scheme_name = "bearer"
        self._gate = gate

    async def __call__(self, request: Request) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return await self._gate.verify(token.strip() if scheme.lower() == "bearer" else "")


class RateLimitExceeded(TooMany):
    """A member of staff asks too often."""


class StaffGuard(Guard):
    """The guard of staff's routes: a good token, then one of the roles, then the limit of requests, which is theirs
    alone. Who calls is there. Raises ``RateLimitExceeded`` and ``InvalidFormat`` too."""

    def __init__(
        self,
        gate: Gate,
        presence: Presence,
        quotas: Quotas,
        metrics: Metrics,
        *,
        roles: AbstractSet[str] = STAFF_ROLES,
    ) -> None:
        super().__init__(gate)
        self._presence = presence
        self._quotas = quotas
        self._metrics = metrics
        self._roles = roles

    async def __call__(self, request: Request) -> Principal:
        principal = await super().__call__(request)
        if not principal.roles & self._roles:
            raise Forbidden(f"This needs the role {' or '.join(sorted(self._roles))}.")
        if not request.scope.setdefault(COUNTED, False):
            await self._count(principal)
            await self._presence.call(principal)
            request.scope[COUNTED] = True
            _once(request)
        return principal

    async def _count(self, principal: Principal) -> None:
        if wait := await self._quotas.hit(ADMIN_REQUESTS, principal.user_id):
            self._metrics.ratelimit_blocked_total.labels(ADMIN_REQUESTS).inc()
            raise RateLimitExceeded("Too many requests. Wait a moment.", retry_after=round(wait * 1000) + 1)


def _once(request: Request) -> None:
    """Of two values under one name nobody knows which one is meant. Raises ``InvalidFormat``."""
    names = [name for name, _ in request.query_params.multi_items()]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise InvalidFormat(f"query.{twice}: it is given more than once.")
