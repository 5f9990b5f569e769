"""OpenAI's chat completions API: https://platform.openai.com/docs/api-reference/chat/create"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from tests.llm.standins.server import KEY, Failure, StandIn, data


class OpenAIServer(StandIn):
    """``unknown_fields`` are refused, as older servers and other models do; ``ignores_stream`` answers whole."""

    def __init__(self) -> None:
        super().__init__()
        self.unknown_fields: set[str] = set()
        self.ignores_stream = False

    def routes(self) -> list[web.RouteDef]:
        return [web.post("/v1/chat/completions", self.chat), web.get("/v1/models", self.models)]

    async def models(self, request: web.Request) -> web.StreamResponse:
        if failure := self._refusal(request):
            return error_response(failure)
        return web.json_response({"object": "list", "data": [{"id": "small", "object": "model", "owned_by": "us"}]})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await self.asked(request)
        failure = self._refusal(request) or self._wrong(body)
        if failure:
            return error_response(failure)
        if not body.get("stream") or self.ignores_stream:
            return web.json_response(whole("".join(self.script.words), self.script.finish or "stop"))
        return await self.streamed(request, self._events(body))

    def _refusal(self, request: web.Request) -> Failure | None:
        sent = request.headers.get("Authorization", "nothing")
        if sent != f"Bearer {KEY}":
            return Failure(401, "invalid_request_error", f"Incorrect API key provided: {sent}")
        return self.failures.popleft() if self.failures else None

    def _wrong(self, body: dict[str, Any]) -> Failure | None:
        if body.get("model") == "missing":
            return Failure(404, "invalid_request_error", "The model `missing` does not exist")
        if "max_tokens" in body and "max_tokens" in self.unknown_fields:
            text = "Unsupported parameter: 'max_tokens' is not supported. Use 'max_completion_tokens' instead."
            return Failure(400, "invalid_request_error", text)
        for name in sorted(self.unknown_fields & body.keys()):
            return Failure(400, "invalid_request_error", f"Unrecognized request argument supplied: {name}")
        return None

    async def _events(self, body: dict[str, Any]) -> AsyncIterator[str]:
        yield data(chunk({"role": "assistant", "content": "", "refusal": None}))
        async for word in self.spoken():
            yield data(chunk({"content": word}))
        for url in self.script.files:
            yield data(chunk({"images": [{"type": "image_url", "image_url": {"url": url}}]}))
        if self.script.error:
            yield data(error_body(self.script.error))
            return
        if self.script.cut or self.script.hold:
            return
        yield data(chunk({}, self.script.finish or "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            yield data({**chunk({}), "choices": [], "usage": USAGE})
        yield "data: [DONE]\n\n"


USAGE = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1700000000,
        "model": "small",
        "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}],
    }


def whole(text: str, finish: str) -> dict[str, Any]:
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1700000000,
        "model": "small",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": finish}],
        "usage": USAGE,
    }


def error_body(failure: Failure) -> dict[str, Any]:
    return {"error": {"message": failure.message, "type": failure.kind, "param": None, "code": failure.kind}}


def error_response(failure: Failure) -> web.Response:
    return web.json_response(error_body(failure), status=failure.status, headers=failure.headers)
