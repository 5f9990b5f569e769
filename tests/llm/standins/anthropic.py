"""Anthropic's messages API: https://docs.anthropic.com/en/api/messages-streaming

The key is documented as the header ``x-api-key``; version 2 of the library sends ``Authorization: Bearer``.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

from aiohttp import web

from tests.llm.standins.server import KEY, Failure, StandIn


class AnthropicServer(StandIn):
    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/messages", self.messages), web.get("/v1/models", self.models)]

    async def models(self, request: web.Request) -> web.StreamResponse:
        if failure := self._refusal(request):
            return error_response(failure)
        return web.json_response({"data": [{"id": "small", "type": "model"}], "has_more": False})

    async def messages(self, request: web.Request) -> web.StreamResponse:
        body = await self.asked(request)
        failure = self._refusal(request) or wrong(body)
        if failure:
            return error_response(failure)
        if not body.get("stream"):
            return web.json_response(message("".join(self.script.words), self.script.finish or "end_turn"))
        return await self.streamed(request, self._events())

    def _refusal(self, request: web.Request) -> Failure | None:
        sent = request.headers.get("x-api-key") or request.headers.get("Authorization", "").removeprefix("Bearer ")
        if sent != KEY:
            return Failure(401, "authentication_error", f"invalid x-api-key {sent}")
        if "anthropic-version" not in request.headers:
            return Failure(400, "invalid_request_error", "anthropic-version: header is required")
        return self.failures.popleft() if self.failures else None

    async def _events(self) -> AsyncIterator[str]:
        yield event("message_start", message={**message("", None), "content": []})
        yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        yield event("ping")
        async for word in self.spoken():
            yield event("content_block_delta", index=0, delta={"type": "text_delta", "text": word})
        if self.script.error:
            yield event("error", error=error_body(self.script.error)["error"])
            return
        if self.script.cut or self.script.hold:
            return
        yield event("content_block_stop", index=0)
        delta = {"stop_reason": self.script.finish or "end_turn", "stop_sequence": None}
        yield event("message_delta", delta=delta, usage={"output_tokens": 4})
        yield event("message_stop")


def wrong(body: dict[str, Any]) -> Failure | None:
    """The rules that the API has for a request."""
    roles = [turn["role"] for turn in body.get("messages", [])]
    if not body.get("max_tokens"):
        return Failure(400, "invalid_request_error", "max_tokens: Field required")
    if not roles or roles[0] != "user" or set(roles) - {"user", "assistant"}:
        return Failure(400, "invalid_request_error", "messages: first message must use the user role")
    if any(one == next_one for one, next_one in pairwise(roles)):
        return Failure(400, "invalid_request_error", "messages: roles must alternate")
    if body.get("model") == "missing":
        return Failure(404, "not_found_error", "model: missing")
    return None


def message(text: str, stop_reason: str | None) -> dict[str, Any]:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "small",
        "content": [{"type": "text", "text": text}],
        "stop_reason": stop_reason,
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 2, "output_tokens": 1},
    }


def event(kind: str, **fields: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields})}\n\n"


def error_body(failure: Failure) -> dict[str, Any]:
    return {"type": "error", "error": {"type": failure.kind, "message": failure.message}}


def error_response(failure: Failure) -> web.Response:
    return web.json_response(error_body(failure), status=failure.status, headers=failure.headers)
