"""Bodies of requests: JSON as strict as on the socket."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from chatbox import strictjson
from chatbox.errors import InvalidFormat


class StrictRoute(APIRoute):
    """The route class of a router whose routes take JSON."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def strictly(request: Request) -> Response:
            return await handle(_StrictRequest(request.scope, request.receive))

        return strictly


class _StrictRequest(Request):
    async def json(self) -> dict[str, object]:
        try:
            return strictjson.loads((await self.body()).decode())
        except UnicodeDecodeError:
            raise HTTPException(400, "body: not UTF-8") from None
        except InvalidFormat as error:
            raise HTTPException(400, f"body: {error.message}") from None
