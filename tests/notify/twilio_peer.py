"""A stand-in for Twilio's Messages API: the public form of requests, resources and errors, on this machine."""

from __future__ import annotations

import asyncio
import base64
import re
import secrets
from contextlib import asynccontextmanager
from email.utils import format_datetime, localtime

from aiohttp import web

ACCOUNT, TOKEN, SENDER = "AC" + "0a1b2c3d" * 4, "9f8e7d6c5b4a39281706f5e4d3c2b1a0", "+15005550006"
E164 = re.compile(r"\+[1-9][0-9]{6,14}")


class Phones:
    """What was sent to whom. ``fail`` holds (status, code, text) for the next requests; ``stopped`` numbers that want
    no messages; ``stall`` lets requests wait for ever."""

    def __init__(self):
        self.messages = []
        self.fail = []
        self.retry_after = None
        self.stopped = set()
        self.stall = False
        self.requests = 0
        self.came = asyncio.Event()

    async def create(self, request):
        self.requests += 1
        if self.stall:
            await asyncio.sleep(3600)
        if self.fail:
            return self.error(*self.fail.pop(0))
        if not self.known(request):
            return self.error(401, 20003, "Authenticate")
        form = await request.post()
        problem = self.problem(form)
        return self.error(400, *problem) if problem else self.created(form)

    def known(self, request):
        account = request.match_info["account"]
        given = request.headers.get("Authorization", "").removeprefix("Basic ")
        return given == base64.b64encode(f"{account}:{TOKEN}".encode()).decode() and account == ACCOUNT

    def problem(self, form):
        if not form.get("To"):
            return 21604, "A 'To' phone number is required."
        if not form.get("From"):
            return 21603, "A 'From' phone number is required."
        if not form.get("Body"):
            return 21602, "Message body is required."
        if len(form["Body"]) > 1600:
            return 21617, "The concatenated message body exceeds the 1600 character limit."
        if not E164.fullmatch(form["To"]):
            return 21211, f"Invalid 'To' Phone Number: {form['To'][:4]}"
        if form["From"] != SENDER:
            return 21606, "The From phone number is not a valid, SMS-capable number for your account."
        if form["To"] in self.stopped:
            return 21610, "Attempt to send to unsubscribed recipient"
        return None

    def created(self, form):
        sid = "SM" + secrets.token_hex(16)
        self.messages.append((form["To"], form["Body"]))
        self.came.set()
        now = format_datetime(localtime())
        resource = {
            "account_sid": ACCOUNT, "api_version": "2010-04-01", "body": form["Body"], "date_created": now,
            "date_sent": None, "date_updated": now, "direction": "outbound-api", "error_code": None,
            "error_message": None, "from": form["From"], "messaging_service_sid": None, "num_media": "0",
            "num_segments": "1", "price": None, "price_unit": "USD", "sid": sid, "status": "queued",
            "subresource_uris": {"media": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}/Media.json"},
            "to": form["To"], "uri": f"/2010-04-01/Accounts/{ACCOUNT}/Messages/{sid}.json",
        }  # fmt: skip
        return web.json_response(resource, status=201)

    def error(self, status, code, text):
        headers = {"Retry-After": str(self.retry_after)} if self.retry_after is not None else {}
        more = f"https://www.twilio.com/docs/errors/{code}"
        body = {"code": code, "message": text, "more_info": more, "status": status}
        return web.json_response(body, status=status, headers=headers)

    async def arrived(self, count=1, patience=60):
        async with asyncio.timeout(patience):
            while len(self.messages) < count:
                self.came.clear()
                await self.came.wait()
        return self.messages


@asynccontextmanager
async def twilio_peer(port=0):
    """The stand-in, and its base URL."""
    phones = Phones()
    app = web.Application()
    app.router.add_post("/2010-04-01/Accounts/{account}/Messages.json", phones.create)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port)
    await site.start()
    try:
        yield phones, f"http://127.0.0.1:{site._server.sockets[0].getsockname()[1]}"
    finally:
        await runner.cleanup()
