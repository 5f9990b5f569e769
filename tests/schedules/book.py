"""What was promised, looked at after every step: the book hears of each commit, each model's call and each frame."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from hashlib import blake2b

from chatbox import turn
from chatbox.errors import StorageCorrupt
from chatbox.session import STEP, Kind

SHOWN = (Kind.USER_MESSAGE, Kind.AI_RESPONSE, Kind.FILE_UPLOAD)
"""What makes a conversation."""
ID = re.compile(r"[\w-]{22}")


class Book:
    """The logs as they were committed, opened with ``seals``. ``broken`` says which promise was not kept."""

    def __init__(self, seals):
        self._seals = seals
        self.broken = []
        self.logs = defaultdict(list)
        self.places = set()
        self.open = {}
        self.deleted = set()
        self.created = set()
        self.writing = Counter()
        self.one_writer = True
        self.pieces_are_lost = False
        self.begun = defaultdict(list)
        self._unasked = set()
        self._story = []

    def note(self, *what):
        """Something that could be seen has happened."""
        self._story.append((asyncio.get_running_loop().time(), what))

    @property
    def story(self):
        """What has happened, a line each."""
        return [f"{when:9.4f}  {' '.join(map(str, what))}" for when, what in self._story]

    @property
    def history(self):
        """What has happened in which order, whenever that was and whatever the ids are: from outside, two runs with the
        same one are the same."""
        ids = {}
        text = "\n".join([" ".join(map(str, what)) for _, what in self._story])
        named = ID.sub(lambda found: ids.setdefault(found[0], f"#{len(ids)}"), text)
        return int.from_bytes(blake2b(named.encode(), digest_size=8).digest())

    def check(self):
        """The invariant: after each step of the scheduler nothing is broken."""
        assert not self.broken, self.broken[0]

    def breach(self, what):
        self.broken.append(what)

    # -- the store -----------------------------------------------------------------------------------------------------

    def committed(self, appended):
        if not appended.fresh:
            return
        try:
            entry = self._seals.opened_entry(appended.entry)
        except StorageCorrupt:
            self.breach(f"{appended.entry.message_id} was stored unreadable")
            return
        self.note("stored", entry.index, entry.kind, entry.message_id)
        log = self.logs[entry.session_id]
        if entry.index != len(log) + 1 or (entry.session_id, entry.message_id) in self.places:
            self.breach(f"{entry.message_id} was stored at {entry.index}, after {len(log)} entries, or twice")
        self._follow_turn(entry)
        log.append(entry)
        self.places.add((entry.session_id, entry.message_id))

    def _follow_turn(self, entry):
        running = self.open.get(entry.session_id)
        if entry.kind is Kind.TURN:
            if running:
                self.breach(f"a turn was taken while {running} was open")
            if not turn.owed(self.logs[entry.session_id]):
                self._unasked.add(entry.metadata["answer_id"])
            self.open[entry.session_id] = entry.metadata["answer_id"]
        elif entry.kind is Kind.AI_RESPONSE:
            if entry.message_id != running:
                self.breach(f"{entry.message_id} was stored while the open answer was {running}")
            self.open[entry.session_id] = None
            self._check_words(entry)

    def _check_words(self, entry):
        """An answer is what a model said, or its beginning; what nobody waits for any more is not answered."""
        if entry.content and entry.message_id in self._unasked:
            self.breach(f"{entry.content!r} is an answer that nobody asked for")
        said = self.begun[entry.session_id]
        whole = entry.metadata["finish_reason"] == "stop"
        if (entry.content or whole) and not any(
            entry.content == text if whole else text.startswith(entry.content) for text in said
        ):
            self.breach(f"{entry.content!r} ({entry.metadata['finish_reason']}) is no answer among {said}")

    def removed(self, session_id):
        self.deleted.add(session_id)

    # -- the models ----------------------------------------------------------------------------------------------------

    def writes(self, session_id, text):
        self.begun[session_id].append(text)
        self.writing[session_id] += 1
        if self.one_writer and self.writing[session_id] > 1:
            self.breach("two models write in one session at once")

    def wrote(self, session_id):
        self.writing[session_id] -= 1

    # -- what is told --------------------------------------------------------------------------------------------------

    def told(self, frame):
        """A frame leaves for a client; nothing in it may be ahead of the store."""
        kind, session_id = frame["type"], frame.get("session_id")
        place = session_id, frame.get("message_id")
        positioned = frame.get("seq", 0) % STEP == 0 and "seq" in frame
        if session_id in self.deleted or frame.get("message_id") is None:
            return
        ended = kind == "ai_response" and frame["metadata"]["done"] == "true"
        if (kind == "user_message" or ended or (kind == "ack" and positioned and frame["seq"])) and (
            place not in self.places and not self._of_nothing(frame)
        ):
            self.breach(f"told before it was stored: {frame}")

    def _of_nothing(self, frame):
        """Whether an ack may be of a command that changed nothing, which is not stored."""
        return frame["type"] == "ack" and not frame["message_id"].startswith("said")

    # -- at the end ----------------------------------------------------------------------------------------------------

    def conversation(self, session_id, after=0, until=1 << 62):
        """What a client at a position has to have seen since another one."""
        return [
            (entry.message_id, entry.content)
            for entry in self.logs[session_id]
            if entry.kind in SHOWN and after < entry.seq <= until
        ]

    def unfinished(self):
        """What is owed or open in the logs."""
        for session_id, log in self.logs.items():
            if session_id in self.deleted:
                continue
            if answer_id := self.open.get(session_id):
                yield f"answer {answer_id} is open"
            elif turn.owed(log):
                yield f"{log[-1].message_id} has no answer"

    def entries(self, session_id, kind):
        return [entry for entry in self.logs[session_id] if entry.kind is kind]
