"""What of a conversation goes to the model: pure functions from a session's log to turns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from chatbox.llm.base import Turn
from chatbox.session import MESSAGES, Entry, Finish, Kind, Sender

TURN_TOKENS = 8
"""Tokens that a chat template adds to a turn."""

MIN_SHARE = 4
"""At least the 4th part of the context is the conversation's, however long an answer may be."""

WORST = 3
"""No text has more than this many times its estimated tokens: there is no token without a byte."""

GAP = "\n[…]\n"

WHOLE = (Finish.STOP, Finish.LENGTH)

SILENT = Turn("user", "[…]")
"""Where staff spoke first: models want the user to begin."""


def build_prompt(
    entries: Sequence[Entry], system_prompt: str, context_tokens: int, max_tokens: int
) -> tuple[Turn, ...]:
    """The turns for the next answer: the system prompt, if any, then the newest of the conversation that fits.

    Consecutive messages of one side are one turn. An answer stands where it began, so that a message written meanwhile
    comes after it. Staff speak as the assistant, under their name; files go by their name. The last turn is the user's:
    what follows it (the answer that is to be given again) is left out. Where staff spoke first, ``SILENT`` comes
    before. Without a word of the user there are no turns. ``max_tokens`` of the context are kept for the answer.
    """
    said = joined(turn for entry in by_beginning(entries) for turn in spoken(entry))
    if said and said[-1].role == "assistant":
        said.pop()
    if not said:
        return ()
    if said[0].role == "assistant":
        said.insert(0, SILENT)
    system = [Turn("system", system_prompt)] if system_prompt.strip() else []
    return trim([*system, *said], max(context_tokens - max_tokens, context_tokens // MIN_SHARE))


def by_beginning(entries: Sequence[Entry]) -> Iterator[Entry]:
    """The entries, with every answer in the place of the turn that it took."""
    answers = {entry.message_id: entry for entry in entries if entry.kind is Kind.AI_RESPONSE}
    for entry in entries:
        if entry.kind is Kind.TURN:
            entry = answers.pop(entry.metadata.get("answer_id", ""), entry)
        elif entry.kind is Kind.AI_RESPONSE and answers.pop(entry.message_id, None) is None:
            continue
        yield entry


def spoken(entry: Entry) -> Iterator[Turn]:
    """What an entry says to the model, if anything."""
    text = entry.content.strip()
    if entry.kind in (Kind.FILE_UPLOAD, Kind.VOICE_MESSAGE):
        what = "file" if entry.kind is Kind.FILE_UPLOAD else "voice message"
        name = entry.metadata.get("file_name") or entry.file_id or "unnamed"
        text = f"[{what}: {name}] {text}".strip()
    if entry.kind not in MESSAGES or entry.superseded or not text:
        return
    match entry.sender:
        case Sender.USER:
            yield Turn("user", text)
        case Sender.AI:
            yield Turn("assistant", text)
        case Sender.ADMIN:
            yield Turn("assistant", f"{entry.metadata.get('admin_name', 'Staff')}: {text}")
        case Sender.SYSTEM:
            return


def staff_spoke_since(entries: Sequence[Entry], model_id: str) -> bool:
    """Whether staff have said something to the user since this model's newest whole answer."""
    for entry in reversed(entries):
        if (
            entry.kind is Kind.AI_RESPONSE
            and entry.model_id == model_id
            and entry.metadata.get("finish_reason") in WHOLE
        ):
            return False
        if entry.kind in MESSAGES and entry.sender is Sender.ADMIN:
            return True
    return False


def joined(turns: Iterable[Turn]) -> list[Turn]:
    """Neighbours of one role as one turn."""
    groups = groupby(turns, key=lambda turn: turn.role)
    return [Turn(role, "\n".join(turn.content for turn in group)) for role, group in groups]


def trim(turns: Sequence[Turn], budget: int) -> tuple[Turn, ...]:
    """The system turn and as many of the newest turns as ``budget`` tokens hold, beginning with one of the user's.

    The last turn is always there; if it does not fit, its middle is missing. So is the system turn's beyond half of the
    budget.
    """
    system = [shortened(turn, budget // 2) for turn in turns if turn.role == "system"]
    others = [turn for turn in turns if turn.role != "system"]
    left = budget - sum(map(cost, system))
    last = shortened(others[-1], left)
    left -= cost(last)
    start = len(others) - 1
    while start > 0 and (left := left - cost(others[start - 1])) >= 0:
        start -= 1
    while others[start].role != "user" and start < len(others) - 1:
        start += 1
    return (*system, *others[start:-1], last)


def shortened(turn: Turn, tokens: int) -> Turn:
    """The turn, without its middle when it costs more than ``tokens``."""
    keep, short = len(turn.content), turn
    while keep and cost(short) > tokens:
        keep = keep * 3 // 4
        head, tail = keep - keep // 2, keep // 2
        short = Turn(turn.role, turn.content[:head] + GAP + turn.content[len(turn.content) - tail :])
    return short


def cost(turn: Turn) -> int:
    return estimate_tokens(turn.content) + TURN_TOKENS


def estimate_tokens(text: str) -> int:
    """About how many tokens a text has, rather too many than too few: 1 for 3 ASCII characters or 2 bytes of others.

    English prose has 4 to 5 characters a token, source code about 3. A Chinese character (3 bytes) counts 1.5, a
    Cyrillic letter 1, an emoji 2.
    """
    size = len(text.encode(errors="surrogatepass"))
    plain = len(text.encode("ascii", errors="ignore"))
    return math.ceil(plain / 3 + (size - plain) / 2)
