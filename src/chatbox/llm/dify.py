"""Dify's chat application API.

Dify keeps the conversation itself, under an id that it gives with the first answer: that is this provider's ``state``.
A conversation that Dify does not know gets what was said so far inside its first question. After staff have spoken
a new one begins so: Dify takes nobody else's words.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from urllib.parse import quote, urljoin

import msgspec

from chatbox.errors import ProviderError
from chatbox.llm.answer import Answer, AnswerStream, file_at
from chatbox.llm.base import End, Event, Prompt, ProviderSettings, Turn, Usage
from chatbox.llm.http import HttpProvider, RequestRefused, Response

PATH = "/chat-messages"
LAST_WORDS = 2.0
"""Seconds that stopping Dify may take when the provider closes."""


class Dify(HttpProvider):
    """``endpoint`` is the base URL, e.g. ``https://api.dify.ai/v1``. Model and limits are the app's own."""

    check_path = "/info"

    def __init__(self, settings: ProviderSettings) -> None:
        super().__init__(settings)
        self._stops: set[asyncio.Task[None]] = set()

    def headers(self) -> dict[str, str]:
        key = {"Authorization": f"Bearer {self.settings.api_key}"} if self.settings.api_key else {}
        return {"Content-Type": "application/json", **key}

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stops:
            await asyncio.wait(self._stops, timeout=LAST_WORDS)
        for task in self._stops:
            task.cancel()
        await super().__aexit__(kind, error, trace)

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        answer = DifyAnswer(self._api.failure, self.settings.endpoint)
        async with self._stopped_when_left(answer, prompt.user_id), await self._ask(prompt) as response:
            async for events in AnswerStream(response, answer):
                for event in events:
                    yield event
        for event in answer.end():
            yield event

    async def _ask(self, prompt: Prompt) -> Response:
        """Ask in the known conversation, or in a new one when Dify does not have it any more."""
        try:
            return await self._api.post(PATH, request_body(prompt))
        except RequestRefused as refused:
            if refused.status != 404 or not prompt.state:
                raise
        return await self._api.post(PATH, request_body(msgspec.structs.replace(prompt, state="")))

    @asynccontextmanager
    async def _stopped_when_left(self, answer: DifyAnswer, user_id: str) -> AsyncIterator[None]:
        """Dify goes on generating when its client goes away, so it is told; whether it listens is its affair."""
        try:
            yield
        finally:
            if answer.task_id and not answer.over:
                task = asyncio.create_task(self._tell_to_stop(answer.task_id, user_id))
                self._stops.add(task)
                task.add_done_callback(self._stops.discard)

    async def _tell_to_stop(self, task_id: str, user_id: str) -> None:
        with suppress(ProviderError):
            body = msgspec.json.encode({"user": user_id})
            async with await self._api.post(f"{PATH}/{quote(task_id, safe='')}/stop", body):
                pass


def request_body(prompt: Prompt) -> bytes:
    return msgspec.json.encode(
        {
            "query": prompt.turns[-1].content if prompt.state else opening(prompt.turns),
            "inputs": {},
            "response_mode": "streaming",
            "conversation_id": prompt.state,
            "user": prompt.user_id,
        }
    )


def opening(turns: Sequence[Turn]) -> str:
    """The first question of a conversation at Dify, after all that it has to know."""
    *before, question = turns
    system = [turn.content for turn in before if turn.role == "system"]
    said = [f"{turn.role.capitalize()}: {turn.content}" for turn in before if turn.role != "system"]
    earlier = ["Conversation so far:", *said, "The user now says:"] if said else []
    return "\n\n".join([*system, *earlier, question.content])


class DifyAnswer(Answer):
    def __init__(self, failure: Callable[[int, str], ProviderError], endpoint: str) -> None:
        super().__init__(failure)
        self.task_id = ""
        self._endpoint = endpoint
        self._conversation_id = ""
        self._so_far: list[str] = []
        self._by_agent = False
        self._counts: Counts | None = None

    def _text(self, data: bytes) -> str:
        event = decode(data)
        self.task_id = event.task_id or self.task_id
        self._conversation_id = event.conversation_id or self._conversation_id
        text = self._said(event)
        self._so_far.append(text)
        return text

    def _said(self, event: StreamEvent) -> str:
        """The text that an event adds. Others (workflow steps, speech) say nothing to a user."""
        match event.event:
            case "agent_message":
                self._by_agent = True
                return event.answer
            case "message":
                return self._rest_of(event.answer, "") if self._by_agent else event.answer
            case "message_replace":
                return self._rest_of(event.answer, f"\n\n{event.answer}")
            case "message_file" if event.belongs_to != "user":
                self._files += file_at(urljoin(self._endpoint, event.url))
            case "message_end":
                self.over = True
                self._counts = event.metadata.usage if event.metadata else None
            case "error":
                self.over = True
                raise self._failure(event.status or 500, f"{event.code} {event.message}")
        return ""

    def _rest_of(self, whole: str, otherwise: str) -> str:
        """What a whole answer adds to the text so far, which can't be taken back when it is another."""
        so_far = "".join(self._so_far)
        return whole.removeprefix(so_far) if whole.startswith(so_far) else otherwise

    def _last(self) -> list[Event]:
        end = End(state=self._conversation_id)
        return [Usage(self._counts.prompt_tokens, self._counts.completion_tokens), end] if self._counts else [end]


class Counts(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Metadata(msgspec.Struct):
    usage: Counts | None = None


class StreamEvent(msgspec.Struct):
    event: str
    task_id: str | None = None
    conversation_id: str | None = None
    answer: str = ""
    url: str = ""
    belongs_to: str | None = None
    metadata: Metadata | None = None
    status: int | None = None
    code: str | None = None
    message: str | None = None


decode = msgspec.json.Decoder(StreamEvent).decode
