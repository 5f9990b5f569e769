"""A model that does as it is told: deterministic and offline, for tests and demonstrations.

The last user message chooses the answer: ``COMMANDS`` lists how, ``docs/reference/providers.md`` explains it, and what
is no command is repeated. An answer comes word by word and counts its words as tokens.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable

import msgspec

from chatbox.errors import ProviderBusy, ProviderError, ProviderRefused, ProviderTimeout, ProviderUnreachable
from chatbox.llm.base import End, Event, File, Piece, Prompt, Provider, Usage


class Script(msgspec.Struct):
    """What happens: ``words``, ``pause`` seconds before each, then the files, then ``last``."""

    words: Iterable[str]
    pause: float = 0.0
    files: tuple[File, ...] = ()
    last: End | ProviderError | None = End()
    """How it ends; ``None`` is silence for ever."""


class Echo(Provider):
    """Needs no settings."""

    async def stream(self, prompt: Prompt) -> AsyncGenerator[Event, None]:
        script = script_for(prompt.turns[-1].content)
        count = 0
        for word in script.words:
            count += 1
            await asyncio.sleep(script.pause)
            yield Piece(word)
        for file in script.files:
            yield file
        match script.last:
            case End() as end:
                yield Usage(sum(len(words_of(turn.content)) for turn in prompt.turns), count)
                yield end
            case None:
                await asyncio.Event().wait()
            case error:
                raise error


def script_for(message: str) -> Script:
    for pattern, command in COMMANDS.items():
        if found := re.fullmatch(pattern, message.strip(), re.DOTALL):
            return command(*found.groups(""))
    return Script(words_of(message))


def words_of(text: str) -> list[str]:
    """The words, each with the space behind it; together they are the text."""
    return [word for word in re.split(r"(?<=\s)(?=\S)", text) if word]


def numbers(count: str) -> Iterable[str]:
    return (f"{number} " for number in range(1, int(count or 20) + 1))


def failing(kind: str) -> Script:
    errors: dict[str, Callable[[], ProviderError]] = {
        "busy": lambda: ProviderBusy("told to be busy", retry_after=1.0),
        "unreachable": lambda: ProviderUnreachable("told to be unreachable"),
        "refused": lambda: ProviderRefused("told to refuse"),
        "timeout": lambda: ProviderTimeout("told to time out"),
    }
    return Script((), last=errors[kind]())


COMMANDS: dict[str, Callable[..., Script]] = {
    r"/list (\d{1,6})": lambda count: Script(f"{n}. Item {n}\n" for n in range(1, int(count) + 1)),
    r"/long (\d{1,6})": lambda count: Script(numbers(count)),
    r"/slow (\d{1,6})(?:\s+(.+))?": lambda ms, text: Script(words_of(text) or numbers(""), pause=int(ms) / 1000),
    r"/fail (busy|unreachable|refused|timeout)": failing,
    r"/fail-after (\d{1,6})": lambda count: Script(numbers(count), last=ProviderUnreachable("told to break off")),
    r"/stall(?: (\d{1,6}))?": lambda count: Script(numbers(count) if count else (), last=None),
    r"/length (\d{1,6})": lambda count: Script(numbers(count), last=End("length")),
    r"/file (https?://\S{1,2040})": lambda url: Script(
        ["Here it is."], files=(File(url, name=url.rsplit("/", 1)[-1]),)
    ),
    r"/markdown": lambda: Script(words_of(MARKDOWN)),
}
"""Patterns of the commands and the scripts they make. Counts go up to 999,999."""

MARKDOWN = """\
# A sample of Markdown

Text may be **bold**, *italic*, `code` or a [link](https://example.com/).

## A list

1. one
2. two
   - two and a half

> A quotation that goes
> over two lines.

| Fruit | Pieces |
|-------|-------:|
| Apple |      3 |
| Pear  |     12 |

```python
def greet(name: str) -> str:
    return f"Hello, {name}!"
```

That was all.
"""
