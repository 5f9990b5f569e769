"""Dify's chat application API, as published:

- "Send Chat Message", the events ``ChunkChatCompletionResponse`` and the errors: the API page of every Dify app, in
  https://github.com/langgenius/dify under ``web/app/components/develop/template/template_chat.en.mdx``;
- the stream's form and the bare ``event: ping``: https://docs.dify.ai/en/api-reference/guides/streaming;
- the closing ``message`` of an agent: https://docs.dify.ai/en/api-reference/guides/agent.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web

from tests.llm.standins.server import KEY, Failure, StandIn, data

TASK = "900bbd43-dc0b-4383-a372-aa6e6c414227"


class DifyServer(StandIn):
    """``conversations`` are the ids it knows; ``stopped`` the tasks that were stopped, each with its user."""

    def __init__(self) -> None:
        super().__init__()
        self.conversations: set[str] = set()
        self.stopped: list[tuple[str, str]] = []
        self.agent = False
        self.replacement = ""

    def routes(self) -> list[web.RouteDef]:
        return [
            web.post("/v1/chat-messages", self.chat),
            web.post("/v1/chat-messages/{task_id}/stop", self.stop),
            web.get("/v1/info", self.info),
        ]

    async def info(self, request: web.Request) -> web.StreamResponse:
        """ "Get Application Basic Information": name, description, tags."""
        if failure := self._refusal(request):
            return error_response(failure)
        return web.json_response({"name": "My App", "description": "", "tags": []})

    async def stop(self, request: web.Request) -> web.StreamResponse:
        """ "Stop Generate": the same ``user`` as in the message; ``{"result": "success"}``."""
        self.stopped.append((request.match_info["task_id"], (await request.json())["user"]))
        return web.json_response({"result": "success"})

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await self.asked(request)
        failure = self._refusal(request) or self._wrong(body)
        if failure:
            return error_response(failure)
        conversation = body.get("conversation_id") or f"conversation-{len(self.conversations) + 1}"
        self.conversations.add(conversation)
        return await self.streamed(request, self._events(conversation))

    def _refusal(self, request: web.Request) -> Failure | None:
        if request.headers.get("Authorization") != f"Bearer {KEY}":
            return Failure(401, "unauthorized", f"Access token is invalid: {request.headers.get('Authorization')}")
        return self.failures.popleft() if self.failures else None

    def _wrong(self, body: dict[str, Any]) -> Failure | None:
        """404 for a conversation that does not exist, 400 ``invalid_param`` for a field that is missing."""
        if missing := {"query", "inputs", "user"} - body.keys():
            return Failure(400, "invalid_param", f"missing {sorted(missing)}")
        known = body.get("conversation_id") or ""
        if known and known not in self.conversations:
            return Failure(404, "not_found", "Conversation Not Exists.")
        return None

    async def _events(self, conversation: str) -> AsyncIterator[str]:
        ids = {"task_id": TASK, "message_id": "663c5084", "conversation_id": conversation, "created_at": 1705398420}
        yield data({"event": "workflow_started", **ids, "workflow_run_id": "r", "data": {"id": "r", "inputs": {}}})
        yield "event: ping\n\n"
        async for word in self.spoken():
            yield self._text(word, ids)
        for url in self.script.files:
            yield file_event(url, ids)
        if self.replacement:
            yield replacement(self.replacement, ids)
        if self.script.error:
            yield error_event(self.script.error, ids)
            return
        if self.script.cut or self.script.hold:
            return
        if self.agent:
            yield data({"event": "message", **ids, "answer": "".join(self.script.words)})
        yield data({"event": "tts_message", **ids, "audio": "qqqq"})
        yield message_end(ids)

    def _text(self, word: str, ids: dict[str, Any]) -> str:
        """``message``: a chunk of the model's text. ``agent_message``: the same of an agent, which also thinks."""
        return data({"event": "agent_message" if self.agent else "message", **ids, "answer": word})


def file_event(url: str, ids: dict[str, Any]) -> str:
    """``message_file``: a tool has made a file; ``type`` "image", ``belongs_to`` "assistant", ``url``."""
    return data({"event": "message_file", **ids, "id": "f", "type": "image", "belongs_to": "assistant", "url": url})


def replacement(answer: str, ids: dict[str, Any]) -> str:
    """``message_replace``: moderation found the text unfit; ``answer`` replaces all of it."""
    return data({"event": "message_replace", **ids, "answer": answer, "reason": "output_moderation"})


def message_end(ids: dict[str, Any]) -> str:
    """``message_end``: the stream has ended; ``metadata.usage`` counts tokens and prices."""
    usage = {"prompt_tokens": 12, "completion_tokens": 4, "total_tokens": 16, "total_price": "0.001", "latency": 1.4}
    return data({"event": "message_end", **ids, "metadata": {"usage": usage, "retriever_resources": []}})


def error_event(failure: Failure, ids: dict[str, Any]) -> str:
    """``error``: what went wrong while streaming, with an HTTP ``status``; it ends the stream."""
    return data({"event": "error", **ids, "status": failure.status, "code": failure.kind, "message": failure.message})


def error_response(failure: Failure) -> web.Response:
    body = {"code": failure.kind, "message": failure.message, "status": failure.status}
    return web.json_response(body, status=failure.status, headers=failure.headers)
