"""What was promised, looked at after every step: the book hears of each commit, each model's call and each frame."""

from __future__ import annotations

import asyncio
import re
from collections import Counter, defaultdict
from hashlib import blake2b

from chatbox import turn
from chatbox.errors import StorageCorrupt
from chatbox.session import STEP, Kind, Sender

AMONG_STAFF = "among staff"
"""What notes begin with in all scenarios."""
OF_ONES_OWN = ("join", "leave", "said", "note")
"""What members of staff do in their own name."""
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
        self.owners = {}
        self.takeovers = defaultdict(list)
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
        self._follow_owner(entry)
        self._follow_turn(entry)
        log.append(entry)
        self.places.add((entry.session_id, entry.message_id))
        if appended.session.assisting_admin_id != self.owners.get(entry.session_id):
            self.breach(f"the store says that {appended.session.assisting_admin_id} has the session after {entry}")

    def _follow_turn(self, entry):
        running = self.open.get(entry.session_id)
        if entry.kind is Kind.TURN:
            if running:
                self.breach(f"a turn was taken while {running} was open")
            if not turn.owed(self.logs[entry.session_id]):
                self._unasked.add(entry.metadata["answer_id"])
                self._check_staff_have_not_answered(entry.session_id)
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

    def _check_staff_have_not_answered(self, session_id):
        settling = [entry for entry in self.logs[session_id] if turn.settles(entry)]
        if settling and settling[-1].sender is Sender.ADMIN:
            self.breach(f"a turn was taken for what staff have answered by {settling[-1].message_id}")

    def _follow_owner(self, entry):
        """The session is the AI's, or one member of staff's."""
        session_id, owner = entry.session_id, self.owners.get(entry.session_id)
        who = entry.metadata.get("admin_id") if entry.sender is Sender.ADMIN else None
        match entry.kind:
            case Kind.ADMIN_JOIN:
                if self.open.get(session_id):
                    self.breach(f"{who} joined while {self.open[session_id]} was open")
                if entry.metadata.get("from_id") != owner:
                    self.breach(f"{who} joined while {owner or 'the AI'} had the session")
                self.owners[session_id] = who
                self._handed_over(entry)
                self.takeovers[session_id].append([who, entry.index, 0, None])
            case Kind.ADMIN_LEAVE:
                if who != owner:
                    self.breach(f"{who} left while {owner or 'the AI'} had the session")
                self.owners[session_id] = None
                self._handed_over(entry)
            case Kind.USER_MESSAGE if who:
                if who != owner:
                    self.breach(f"words of {who} while {owner or 'the AI'} had the session")
                else:
                    self.takeovers[session_id][-1][2] += 1
            case Kind.TURN | Kind.REGENERATE | Kind.AI_RESPONSE | Kind.FILE_UPLOAD if owner:
                self.breach(f"{entry.kind} {entry.message_id} while {owner} had the session")
            case Kind.NOTIFICATION if owner and entry.metadata.get("event") == turn.ENDED:
                self.breach(f"the session was ended while {owner} had it")

    def _handed_over(self, entry):
        """A takeover ends with an entry, if one was going on."""
        of_session = self.takeovers[entry.session_id]
        if of_session and of_session[-1][3] is None:
            of_session[-1][3] = entry.index

    def done_by(self, who, what, session_id, message_id):
        """A member of staff was told that something is done: then it is in the log, under their name."""
        if session_id in self.deleted:
            return
        done = next((entry for entry in self.logs[session_id] if entry.message_id == message_id), None)
        has_it = what == "join" and any(taken[0] == who for taken in self.takeovers[session_id])
        if done is None and not has_it and what != "release":
            self.breach(f"{who} was told that {message_id} is done, and nothing is stored")
        if done and what in OF_ONES_OWN and done.metadata["admin_id"] != who:
            self.breach(f"{who} was told that {message_id} is done, which {done.metadata['admin_id']} did")

    def owner_at(self, session_id, seq):
        """Which member of staff had the session at a position."""
        for who, began, _, ended in self.takeovers[session_id]:
            if began * STEP <= seq and (ended is None or seq < ended * STEP):
                return who
        return None

    def ended_takeovers(self, session_id):
        """Who had the session, from which entry on, and how much they said."""
        return [(who, began, said) for who, began, said, ended in self.takeovers[session_id] if ended is not None]

    def removed(self, session_id):
        self.deleted.add(session_id)

    # -- the models ----------------------------------------------------------------------------------------------------

    def asked(self, prompt):
        """A model knows all that staff have said to the user, and nothing that they said among themselves."""
        text = "\n".join([one.content for one in prompt.turns])
        if AMONG_STAFF in text:
            self.breach(f"a model was told a note: {text}")
        answer_id = self.open.get(prompt.session_id)
        if answer_id is None or not self.one_writer or self.pieces_are_lost:
            return
        log = self.logs[prompt.session_id]
        taken = next(n for n, entry in enumerate(log) if entry.metadata.get("answer_id") == answer_id)
        question = max(n for n, entry in enumerate(log[:taken]) if turn.asks(entry))
        for entry in log[:question]:
            if entry.sender is Sender.ADMIN and entry.kind is Kind.USER_MESSAGE and entry.content not in text:
                self.breach(f"a model was not told what staff said: {entry.content}")

    def writes(self, session_id, text):
        self.begun[session_id].append(text)
        self.writing[session_id] += 1
        if self.one_writer and self.writing[session_id] > 1:
            self.breach("two models write in one session at once")

    def wrote(self, session_id):
        self.writing[session_id] -= 1

    # -- what is told --------------------------------------------------------------------------------------------------

    def told(self, frame):
        """A frame leaves for a user; nothing in it may be ahead of the store, or be for staff alone."""
        kind, session_id = frame["type"], frame.get("session_id")
        if kind == "note" or AMONG_STAFF in frame.get("content", ""):
            self.breach(f"a user was told a note: {frame}")
        if kind == "ai_response" and (who := self.owner_at(session_id, frame["seq"])):
            self.breach(f"a piece at {frame['seq']}, where {who} has the session: {frame}")
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
            elif question := self._passed_over(session_id):
                yield f"{question.message_id} was passed over"

    def _passed_over(self, session_id):
        """The newest question, if nobody has taken it up, and nobody is there who could."""
        for entry in reversed(self.logs[session_id]):
            taken_up = entry.kind is Kind.TURN or (entry.kind is Kind.USER_MESSAGE and entry.sender is Sender.ADMIN)
            if self.owners.get(session_id) or taken_up or entry.metadata.get("event") == turn.ENDED:
                return None
            if entry.kind is Kind.USER_MESSAGE:
                return entry
        return None

    def entries(self, session_id, kind):
        return [entry for entry in self.logs[session_id] if entry.kind is kind]
