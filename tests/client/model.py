"""A model of what a server may send by the wire contract, with all the freedom that the contract gives it."""

from __future__ import annotations

from typing import NamedTuple

from chatbox.client.frames import Frame
from chatbox.session import STEP

SESSION, EPOCH = "session", "epoch"


class Step(NamedTuple):
    """One thing that happens: an entry, a piece, or (without a position) ``loading``."""

    kind: str
    id: str
    text: str = ""


class Log:
    """Steps and the positions they get."""

    def __init__(self, steps):
        self.steps = steps
        self.seqs, index, piece = [], 0, 0
        for step in steps:
            if step.kind == "piece":
                piece += 1
                self.seqs.append(index * STEP + piece)
            elif step.kind == "loading":
                self.seqs.append(None)
            else:
                index, piece = index + 1, 0
                self.seqs.append(index * STEP)

    def position(self, now):
        return max([seq for seq in self.seqs[:now] if seq], default=0)

    def running(self, now):
        """The place of the running answer's turn, if one runs."""
        turns = [place for place in range(now) if self.steps[place].kind == "turn"]
        ended = {step.id for step in self.steps[:now] if step.kind == "answer"}
        return turns[-1] if turns and self.steps[turns[-1]].id not in ended else None

    def truth(self):
        """What a participant is told of what is stored, in order."""
        texts = self.texts()
        told = {"message": lambda s: s.text, "own": lambda s: s.text, "answer": lambda s: texts[s.id], "note": str}
        return [
            (step.id, told[step.kind](step) if step.kind != "note" else step.text)
            for step in self.steps
            if step.kind in told
        ]

    def texts(self):
        """The whole answers."""
        found = {}
        for step in self.steps:
            if step.kind == "piece":
                found[step.id] = found.get(step.id, "") + step.text
            elif step.kind == "turn":
                found.setdefault(step.id, "")
        return found

    def greeting(self, now, at, refused):
        """The first frame, and from which position on the socket goes."""
        if at is not None and not refused:
            return greeting(at, resumed="true"), at
        turn = self.running(now)
        start = self.seqs[turn] if turn is not None else self.position(now)
        return greeting(start, resumed="false", **({"reason": refused} if refused else {})), start

    def stored(self, until):
        """What HTTP has up to a position."""
        return [
            self.entry(place, prev=0, live=False)
            for place, step in enumerate(self.steps)
            if step.kind in ("message", "own", "answer", "note") and self.seqs[place] <= until
        ]

    def replay(self, after, now, merge):
        """Frames that bring a socket from one position up to now. ``merge()``: join the next piece to the last."""
        frames, at = [], after
        whole = {step.id for step in self.steps[:now] if step.kind == "answer"}
        for place in range(now):
            step, seq = self.steps[place], self.seqs[place]
            if step.kind == "loading":
                if step.id not in whole and self.seqs[place - 1] >= after:
                    frames.append(Frame(type="loading", message_id=step.id))
            elif seq <= after or step.kind in ("turn", "stop") or (step.kind == "piece" and step.id in whole):
                continue
            elif (
                step.kind == "piece"
                and frames
                and frames[-1].message_id == step.id
                and piece_like(frames[-1])
                and merge()
            ):
                last = frames.pop()
                frames.append(piece(step.id, last.content + step.text, seq, last.prev))
                at = seq
            else:
                frames.append(
                    piece(step.id, step.text, seq, at)
                    if step.kind == "piece"
                    else self.entry(place, prev=at, live=False)
                )
                at = seq
        return frames, at

    def live(self, place, at, own):
        """The frame of a step as it happens, if it has one."""
        step, seq = self.steps[place], self.seqs[place]
        if step.kind == "loading":
            return Frame(type="loading", message_id=step.id)
        if step.kind in ("own", "stop", "turn") and step.id in own:
            return Frame(type="ack", message_id=step.id, seq=seq, prev=at)
        if step.kind in ("turn", "stop"):
            return None
        if step.kind == "piece":
            return piece(step.id, step.text, seq, at)
        return self.entry(place, prev=at, live=True)

    def entry(self, place, *, prev, live):
        step, seq = self.steps[place], self.seqs[place]
        fields = {"message_id": step.id, "seq": seq, "prev": prev, "content": step.text}
        if step.kind == "note":
            return Frame(type="notification", metadata={"event": step.text}, **(fields | {"content": ""}))
        if step.kind == "answer":
            done = {"done": "true"} | ({"streaming": "true"} if live else {})
            content = "" if live else self.texts()[step.id]
            return Frame(type="ai_response", metadata=done, **(fields | {"content": content}))
        return Frame(type="user_message", sender="user", **fields)


def greeting(seq, session=SESSION, epoch=EPOCH, **metadata):
    return Frame(type="connection_status", session_id=session, epoch=epoch, seq=seq, metadata=metadata)


def piece(answer, text, seq, prev):
    metadata = {"streaming": "true", "done": "false"}
    return Frame(type="ai_response", message_id=answer, content=text, seq=seq, prev=prev, metadata=metadata)


def piece_like(frame):
    return frame.metadata.get("done") == "false"
