"""Those who chat: a client that keeps the wire contract, believes nothing, and comes back when its line is cut."""

from __future__ import annotations

import asyncio
import json
from urllib.parse import urlencode

import detangle

from chatbox.outbox import Line
from chatbox.protocol import Close

WAY = 0.03
"""The longest way of a frame, in s."""
FINAL = (Close.DELETED, Close.REPLACED, Close.TOKEN, Close.FORBIDDEN)
AGAIN = ("DATABASE_ERROR", "SERVICE_ERROR", "TOO_MANY_REQUESTS")


class LineGone(OSError):
    """What a server raises from ``send`` when the client is gone."""


class Socket(Line):
    """A WebSocket between a client and a replica, as an ASGI server shows it to the application. A ``fast`` one takes
    frames as ``SocketLine`` does, until it is full; another one only through ``send``."""

    def __init__(self, client, replica):
        self.client = client
        self.replica = replica
        self.open = False
        self.status = asyncio.get_running_loop().create_future()
        self.ended = asyncio.get_running_loop().create_future()
        self._inbound = asyncio.Queue()
        self._inbound.put_nowait({"type": "websocket.connect"})
        self._cut = False
        self._fast = client.pace == WAY and detangle.flip(0.5)
        self._up = self._down = 0.0
        self.task = None

    def connect(self, token, query):
        if self.replica.host.dead or self.replica.closed:
            self._end(None)
            return
        app = self.replica.app
        scope = {
            "type": "websocket",
            "path": f"{app.config.path_prefix}/ws",
            "query_string": urlencode(query).encode(),
            "headers": [(b"authorization", f"Bearer {token}".encode())],
            "subprotocols": [],
            "extensions": {"chatbox.line": {"line": self}} if self._fast else {},
        }
        self.task = detangle.spawn(app(scope, self._inbound.get, self._send), host=self.replica.name)
        self.task.add_done_callback(self._left)

    # -- the client's end ----------------------------------------------------------------------------------------------

    def write(self, frame):
        """Send a frame to the replica."""
        self.client.book.note(self.client.name, "says", frame["type"], frame["message_id"])
        self._arrive({"type": "websocket.receive", "text": json.dumps(frame)})

    def cut(self):
        """Break the line: what is on its way is lost, the replica finds out later."""
        if not self._cut:
            self._cut = True
            self._arrive({"type": "websocket.disconnect", "code": 1006}, longest=1.0)
            self._end(1006)

    async def left(self):
        """Wait until the replica has done with this socket."""
        await asyncio.wait([self.task])

    def _arrive(self, message, longest=WAY):
        loop = asyncio.get_running_loop()
        self._up = max(self._up, loop.time() + detangle.uniform(0, longest))
        loop.call_at(self._up, self.replica.host.when_going, self._inbound.put_nowait, message)

    # -- the replica's end ---------------------------------------------------------------------------------------------

    def offer(self, frame):
        if self._cut:
            return True
        if detangle.flip(0.1):
            return False
        self.replica.host.when_going(self._leave, {"type": "websocket.send", "text": unmasked(frame)})
        return True

    def abort(self):
        self.cut()

    async def _send(self, message):
        await self.replica.host.hop(self.client.pace)
        if self._cut:
            raise LineGone
        self._leave(message)

    def _leave(self, message):
        frame = json.loads(message["text"]) if message["type"] == "websocket.send" else None
        if frame:
            self.client.book.told(frame)
        loop = asyncio.get_running_loop()
        self._down = max(self._down, loop.time() + detangle.uniform(0, WAY))
        loop.call_at(self._down, self._come, message, frame)

    def _come(self, message, frame):
        if self.ended.done():
            return
        match message["type"]:
            case "websocket.send":
                self.client.take(self, frame)
            case "websocket.close":
                self._arrive({"type": "websocket.disconnect", "code": message["code"]})
                self._end(message["code"])
            case "websocket.http.response.start":
                self._end(message["status"])

    def _left(self, task):
        """The replica has done with the socket."""
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, LineGone):
            self.client.cluster.socket_failed(error)
        self._end(1006)

    def _end(self, code):
        self.open = False
        if not self.ended.done():
            self.client.book.note(self.client.name, "has no line any more:", code)
            self.ended.set_result(code)
            if code in FINAL:
                self.client.over = code


def unmasked(frame):
    """The text of a whole, short WebSocket frame that is not masked."""
    size = frame[1]
    head = 2 if size < 126 else 4 if size == 126 else 10
    return frame[head:].decode()


def told(frame):
    """The gist of a frame."""
    place = [frame["prev"], "to"] if "prev" in frame else []
    seq = [*place, frame["seq"]] if "seq" in frame else []
    content = [repr(frame["content"])] if frame.get("content") else []
    return frame["type"], frame.get("message_id", ""), *seq, *content, *sorted(frame.get("metadata", {}).values())


class Client:
    """A copy of a conversation, kept by the wire contract alone. What was sent and is not acknowledged is sent again by
    the same id after coming back. A frame takes up to ``pace`` s to be read."""

    def __init__(self, cluster, name, *, user="ann", session_id="", tab="", pace=WAY):
        self.cluster = cluster
        self.book = cluster.book
        self.name = name
        self.user = user
        self.tab = tab
        self.pace = pace
        self.session_id = session_id
        self.epoch = ""
        self.position = self.base = 0
        self.entries = []
        self.partials = {}
        self.begun = set()
        self.announced = set()
        self.ended = set()
        self.outstanding = {}
        self.refused = {}
        self.errors = []
        self.notices = []
        self.reloads = 0
        self.owner = None
        self.socket = None
        self.over = None
        self._numbers = 0
        self._news = asyncio.Event()

    # -- the line ------------------------------------------------------------------------------------------------------

    def connect(self, replica):
        """Open a socket; an older one is cut."""
        if self.socket:
            self.socket.cut()
        query = {"session_id": self.session_id, "client": self.tab}
        if self.epoch:
            query |= {"epoch": self.epoch, "last_seq": self.position}
        self.socket = Socket(self, replica)
        self.socket.connect(self.cluster.token(self.user), {key: value for key, value in query.items() if value != ""})
        return self.socket

    async def enter(self, replica):
        """Connect, and wait for the first frame."""
        socket = self.connect(replica)
        async with asyncio.timeout(20):
            await self.told()
        assert socket.open, f"{self.name} was refused: {socket.ended.result()}"
        return self

    async def read(self, replica):
        """Begin with the stored messages, as a page does."""
        page = await detangle.spawn(replica.page(self.user, self.session_id), host=replica.name)
        self.epoch, self.position = page.session.epoch, page.seq
        self.owner = self.book.owner_at(self.session_id, page.seq)
        for entry in page.entries:
            self._put(entry.message_id, entry.content)
        self.ended = {entry.message_id for entry in page.entries}
        self._compare()

    async def stay(self):
        """Come back whenever the line is gone, to any replica that lives, until cancelled or told not to."""
        while self.over is None:
            socket = self.socket
            await socket.ended
            await asyncio.sleep(detangle.uniform(0.05, 0.5))
            if self.socket is socket and self.over is None:
                self.connect(detangle.choice(self.cluster.alive))

    async def news(self):
        """Wait for the next frame."""
        self._news.clear()
        await self._news.wait()

    async def until(self, true, patience=20.0):
        async with asyncio.timeout(patience):
            while not true():
                await self.news()

    # -- what it says --------------------------------------------------------------------------------------------------

    def say(self, content):
        return self._command("said", {"type": "user_message", "content": content})

    def stop(self, target=None):
        return self._command("stop", {"type": "stop", "metadata": {"target": target} if target else {}})

    def again(self):
        return self._command("said-again", {"type": "regenerate"})

    def _command(self, what, frame):
        self._numbers += 1
        message_id = f"{what}-{self.name}-{self._numbers}"
        self.outstanding[message_id] = frame | {"message_id": message_id}
        if self.socket and self.socket.open:
            self.socket.write(self.outstanding[message_id])
        return message_id

    async def told(self):
        """Wait for the first frame, or the end of the socket."""
        await asyncio.wait([self.socket.ended, self.socket.status], return_when=asyncio.FIRST_COMPLETED)

    def resend(self):
        for frame in self.outstanding.values():
            self.socket.write(frame)

    # -- what it hears -------------------------------------------------------------------------------------------------

    def take(self, socket, frame):
        if socket is not self.socket:
            return
        self.book.note(self.name, "hears", *told(frame))
        self._news.set()
        if not socket.open:
            self._first(socket, frame)
            return
        if "seq" in frame and not self._next(frame):
            return
        match frame["type"]:
            case "ack":
                self._acknowledged(frame)
            case "user_message" | "file_upload":
                self._put(frame["message_id"], frame["content"])
            case "loading":
                self._silent(frame)
                self._loading(frame["message_id"])
            case "ai_response":
                self._silent(frame)
                self._answer(frame)
            case "admin_join":
                self.owner = frame["metadata"]["admin_id"]
            case "admin_leave":
                self.owner = None
            case "error":
                self._error(frame)
            case "notification":
                self.notices.append(frame["metadata"]["event"])
        self._compare()

    def _first(self, socket, frame):
        if frame["type"] == "error":
            self.errors.append(frame["error"]["code"])
            return
        if frame["type"] != "connection_status":
            self.book.breach(f"{self.name} first got {frame}")
        socket.open, self.begun = True, set()
        socket.status.set_result(frame)
        resumed = frame["metadata"]["resumed"] == "true"
        if resumed and (frame["seq"], frame["epoch"], frame["session_id"]) != self._place:
            self.book.breach(f"{self.name} at {self._place} was resumed by {frame}")
        if not resumed:
            self._reload(frame)
        self.resend()

    @property
    def _place(self):
        return self.position, self.epoch, self.session_id

    def _reload(self, frame):
        """Begin anew where the replica says."""
        self.reloads += bool(self.epoch)
        self.session_id, self.epoch = frame["session_id"], frame["epoch"]
        self.base = self.position = frame["seq"]
        self.owner = frame["metadata"].get("admin_id")
        if self.owner != (there := self.book.owner_at(self.session_id, self.base)):
            self.book.breach(f"{self.name} was told that {self.owner} has the session, and {there} has it")
        self.entries, self.partials, self.announced = [], {}, set()

    def _next(self, frame):
        """Whether a frame with a position is a new one; each has to follow on the one before."""
        if frame["seq"] <= self.position and frame["type"] == "ack":
            self._heard_again(frame)
            return False
        if frame.get("prev", frame["seq"] - 1) != self.position or frame["seq"] <= self.position:
            self.book.breach(f"{self.name} at {self.position} got {frame}")
        self.position = frame["seq"]
        return True

    def _heard_again(self, frame):
        """A repeated ack, or one of what changed nothing."""
        sent = self.outstanding.pop(frame["message_id"], None)
        if sent and sent["type"] == "user_message" and frame["message_id"] not in dict(self.entries) and (
            frame["seq"] > self.base
        ):  # fmt: skip
            self.book.breach(f"{self.name} has no place for {frame}")

    def _acknowledged(self, frame):
        sent = self.outstanding.pop(frame["message_id"], None)
        if sent is None:
            self.book.breach(f"{self.name} got {frame} for nothing")
        elif sent["type"] == "user_message":
            self._put(frame["message_id"], sent["content"])

    def _put(self, message_id, content):
        if message_id in dict(self.entries):
            self.book.breach(f"{self.name} got {message_id} twice")
        self.entries.append((message_id, content))

    def _silent(self, frame):
        """While staff have the session, the AI says nothing."""
        if self.owner:
            self.book.breach(f"{self.name} got {frame} while {self.owner} had the session")

    def _loading(self, answer_id):
        if answer_id in self.begun:
            self.book.breach(f"{self.name} was told twice that {answer_id} begins")
        if answer_id in self.ended:
            self.book.breach(f"{self.name} was told that {answer_id} begins after its end")
        self.begun.add(answer_id)
        self.announced.add(answer_id)

    def _answer(self, frame):
        answer_id, metadata = frame["message_id"], frame["metadata"]
        if answer_id in self.ended:
            self.book.breach(f"{self.name} got a frame of {answer_id} after its end")
        so_far = self.partials.get(answer_id, "") if "streaming" in metadata else ""
        text = so_far + frame["content"]
        if metadata["done"] == "false":
            if answer_id not in self.announced:
                self.book.breach(f"{self.name} was not told that {answer_id} begins")
            self.partials[answer_id] = text
            return
        shown = self.partials.pop(answer_id, "")
        gone = self.session_id in self.book.deleted
        if not text.startswith(shown) and not self.book.pieces_are_lost and not gone:
            self.book.breach(f"{self.name} saw {shown!r} of {answer_id}, which is {text!r}")
        self.ended.add(answer_id)
        self._put(answer_id, text)

    def _error(self, frame):
        code, message_id = frame["error"]["code"], frame.get("message_id")
        self.errors.append(code)
        if message_id not in self.outstanding:
            return
        if code in AGAIN:
            asyncio.get_running_loop().call_later(0.3, self._once_more, message_id)
        else:
            self.refused[message_id] = code
            del self.outstanding[message_id]

    def _once_more(self, message_id):
        if message_id in self.outstanding and self.socket.open:
            self.socket.write(self.outstanding[message_id])

    def _compare(self):
        """What is complete here is the log's, up to the position here."""
        there = self.book.conversation(self.session_id, self.base, self.position)
        if self.entries != there and self.session_id not in self.book.deleted:
            self.book.breach(f"{self.name} at {self.position} has {self.entries}, the log {there}")

    # -- at the end ----------------------------------------------------------------------------------------------------

    def lacks(self):
        """What this client still waits for, if anything."""
        if self.over is not None or self.session_id in self.book.deleted:
            return ""
        if not self.socket or not self.socket.open:
            return f"{self.name} is not connected"
        if self.outstanding:
            return f"{self.name} waits for acks of {list(self.outstanding)}"
        if self.partials or self.announced - self.ended:
            return f"{self.name} waits for the end of {self.announced - self.ended | self.partials.keys()}"
        if self.entries != (there := self.book.conversation(self.session_id, self.base)):
            return f"{self.name} has {self.entries}, the log {there}"
        return ""
