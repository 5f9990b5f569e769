"""Who calls: the principal behind a request."""

from __future__ import annotations

from fastapi import Request
from fastapi.openapi.models import HTTPBearer
from fastapi.security.base import SecurityBase

from chatbox.auth import Authenticator
from chatbox.session import Principal


class Guard(SecurityBase):
    """A dependency that gives the caller of a route. Raises ``InvalidToken``, ``Unavailable``."""

    def __init__(self, authenticator: Authenticator) -> None:
        self.model = HTTPBearer(bearerFormat="JWT", description="The parent application's token.")
        self.scheme_name = "bearer"
        self._authenticator = authenticator

    async def __call__(self, request: Request) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return await self._authenticator.verify(token.strip() if scheme.lower() == "bearer" else "")
