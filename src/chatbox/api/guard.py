"""Who calls: the principal behind a request."""

from __future__ import annotations

from fastapi import Request

from chatbox.auth import Authenticator
from chatbox.session import Principal


class Guard:
    """A dependency that gives the caller of a route. Raises ``InvalidToken``."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator

    async def __call__(self, request: Request) -> Principal:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        return await self._authenticator.verify(token.strip() if scheme.lower() == "bearer" else "")
