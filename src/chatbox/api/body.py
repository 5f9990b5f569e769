"""Bodies of requests: read for those who may speak, and JSON as strict as on the socket."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.routing import APIRoute

from chatbox import strictjson
from chatbox.api.guard import Guard
from chatbox.errors import InvalidFormat


def strict(guard: Guard) -> type[APIRoute]:
    """The class of routes that take JSON. FastAPI alone reads a body before it asks who sends it."""

    class StrictRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            handle = super().get_route_handler()
            if self.body_field is None:
                return handle

            async def strictly(request: Request) -> Response:
                await guard(request)
                return await handle(_StrictRequest(request.scope, request.receive))

            return strictly

    return StrictRoute


class _StrictRequest(Request):
    async def json(self) -> dict[str, object]:
        try:
            return strictjson.loads((await self.body()).decode())
        except UnicodeDecodeError:
            raise HTTPException(400, "body: not UTF-8") from None
        except InvalidFormat as error:
            raise HTTPException(400, f"body: {error.message}") from None
