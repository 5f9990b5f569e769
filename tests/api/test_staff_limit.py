"""The limit of staff's requests: their own, told when to come back, and apart from the limit of users."""

import asyncio
import time
from collections import Counter

import pytest
from fastapi import Request
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from chatbox.access import Access, Gate
from chatbox.allowance import FRAMES
from chatbox.api.guard import ADMIN_REQUESTS, RateLimitExceeded, StaffGuard
from chatbox.auth import Authenticator
from chatbox.backplane.base import Pool, Window
from chatbox.backplane.memory import MemoryBackplane, MemoryQuotas
from chatbox.hub import Hub
from chatbox.limits import SlidingWindow
from chatbox.metrics import Metrics
from chatbox.staff.presence import CALLS, DESKS, Presence
from chatbox.storage.memory import MemoryStorage
from chatbox.tasks import Tasks
from tests import mutants
from tests.api.test_staff import Place, ask, bearer, routes_of
from tests.live import SECRET, running, token
from tests.storage.values import ring
from tests.test_access import two

pytestmark = pytest.mark.readiness(issue=18)


# -- every route, over HTTP --------------------------------------------------------------------------------------------


async def test_every_staff_route_is_limited_and_does_nothing_beyond_the_limit(tmp_path):
    async with running(tmp_path, {"ADMIN_RATE_LIMIT": "2", "ADMIN_RATE_WINDOW": "1h"}) as live:
        place = Place(live)
        await place.furnish()
        for number, route in enumerate(await routes_of(live)):
            who = bearer(f"staff{number}")
            for _ in range(2):
                assert (await ask(live, "GET", "/help", who))[0] == 200
            status, headers, body = await place.call(route, who)
            assert status == 429, route.name
            assert set(body) == {"error", "message", "retry_after_ms"}
            assert body["error"] == "rate_limit_exceeded"
            assert headers["Retry-After"] == str(-(-body["retry_after_ms"] // 1000))
            assert 3_590_000 < body["retry_after_ms"] <= 3_600_001
        records, session = live.app.storage.records, await live.app.storage.get(place.names["session_id"])
        assert session.assisting_admin_id is None
        assert [await records.find(kind) for kind in ("audit", "standing", "canned")] == [[], [], []]


async def test_the_twenty_first_request_of_a_minute_is_refused_unless_told_otherwise(tmp_path):
    async with running(tmp_path) as live:
        seen = [(await ask(live, "GET", "/help", bearer()))[0] for _ in range(22)]
        assert seen == [200] * 20 + [429] * 2


async def test_a_request_counts_once_whether_it_has_a_body_is_wrong_or_finds_nothing(tmp_path):
    async with running(tmp_path, {"ADMIN_RATE_LIMIT": "4"}) as live:
        reply = {"title": "Greeting", "text": "Good morning!"}
        assert (await ask(live, "PUT", "/canned/greeting", bearer(), json=reply))[0] == 200
        assert (await ask(live, "PUT", "/canned/greeting", bearer(), json={}))[0] == 400
        assert (await ask(live, "DELETE", "/canned/nothing", bearer()))[0] == 404
        assert (await ask(live, "GET", "/sessions?limit=0", bearer()))[0] == 400
        for options in ({"json": reply}, {"json": {}}, {"data": b"{"}):
            assert (await ask(live, "PUT", "/canned/greeting", bearer(), **options))[0] == 429


async def test_a_token_and_a_role_are_asked_for_before_anything_is_counted(tmp_path):
    async with running(tmp_path, {"ADMIN_RATE_LIMIT": "1"}) as live:
        for _ in range(5):
            assert (await ask(live, "GET", "/help"))[0] == 401
            assert (await ask(live, "GET", "/help", token("root")))[0] == 403
            assert (await ask(live, "GET", "/audit/export", bearer("root", "chat_admin")))[0] == 403
        assert (await ask(live, "GET", "/help", bearer("root")))[0] == 200
        assert (await ask(live, "GET", "/help", bearer("root")))[0] == 429
        assert (await ask(live, "GET", "/help"))[0] == 401
        assert (await ask(live, "GET", "/help", token("root")))[0] == 403


async def test_a_thousand_rapid_requests_of_one_get_twenty_answers_and_nobody_else_notices(tmp_path):
    async with running(tmp_path) as live:

        async def one():
            return await ask(live, "GET", "/metrics", bearer("root"))

        async with live.socket("root") as own, live.socket("ann") as other:
            begun = time.monotonic()
            flood = asyncio.gather(*(one() for _ in range(1000)))
            for line in (own, other):
                await line.say("user_message", message_id="m", content="hi")
                assert (await line.next("ack"))["message_id"] == "m"
            assert (await ask(live, "GET", "/help", bearer("sue", "chat_admin")))[0] == 200
            answers = await flood
            spent = time.monotonic() - begun
        assert (await live.call("GET", "/sessions", user="root"))[0] == 200
        assert Counter(status for status, _, _ in answers) == {200: 20, 429: 980}
        for status, headers, body in answers:
            if status == 429:
                assert 60 - spent - 1 < int(headers["Retry-After"]) <= 61
                assert body["error"] == "rate_limit_exceeded"
        counted = live.app.metrics.ratelimit_blocked_total.labels("admin")._value.get()
        assert counted == 980


async def test_a_user_who_is_at_the_limit_of_messages_still_has_all_requests_as_staff(tmp_path):
    async with running(tmp_path, {"RATE_LIMIT": "1", "ADMIN_RATE_LIMIT": "3"}) as live:
        async with live.socket("root") as line:
            for number in range(2):
                await line.say("user_message", message_id=f"m{number}", content="hi")
            assert (await line.next("error"))["error"]["code"] == "TOO_MANY_REQUESTS"
        assert [(await ask(live, "GET", "/help", bearer()))[0] for _ in range(4)] == [200, 200, 200, 429]


async def test_the_limit_holds_over_all_replicas_together(tmp_path):
    async with two(tmp_path, "redis") as places:
        for number in range(30):
            await ask(places[number % 2], "GET", "/help", bearer("sue", "chat_admin"))
        answers = await asyncio.gather(*(ask(places[number % 2], "GET", "/help", bearer()) for number in range(100)))
        assert Counter(status for status, _, _ in answers) == {200: 20, 429: 80}


async def test_the_limit_ends_with_its_window(tmp_path):
    async with running(tmp_path, {"ADMIN_RATE_LIMIT": "1", "ADMIN_RATE_WINDOW": "500ms"}) as live:
        assert (await ask(live, "GET", "/help", bearer()))[0] == 200
        status, headers, body = await ask(live, "GET", "/help", bearer())
        assert (status, headers["Retry-After"]) == (429, "1")
        await asyncio.sleep(body["retry_after_ms"] / 1000)
        assert (await ask(live, "GET", "/help", bearer()))[0] == 200


# -- properties, with a clock of their own -----------------------------------------------------------------------------

NOW = time.time()
LIMIT, SECONDS = 3, 60.0
METRICS = Metrics()
TOKENS = {name: bearer(name, "chat_admin", issued=int(NOW)) for name in ("sue", "kim")}


class Office:
    """The guard of staff's routes, and what it counts with."""

    def __init__(self, kind=StaffGuard):
        self.now = 1000.0
        windows = {ADMIN_REQUESTS: Window(LIMIT, SECONDS), FRAMES: Window(LIMIT, SECONDS)}
        self.quotas = MemoryQuotas(windows, {DESKS: Pool(), CALLS: Pool(linger=60.0)})
        for name in windows:
            self.quotas._windows[name] = SlidingWindow(LIMIT, SECONDS, clock=lambda: self.now)
        storage, backplane = MemoryStorage(), MemoryBackplane()
        access = Access(storage.records, Hub(storage, backplane, Tasks()), backplane)
        gate = Gate(Authenticator(secret=SECRET, now=lambda: NOW), access)
        self.guard = kind(gate, Presence(self.quotas, ring("new")), self.quotas, METRICS)

    async def request(self, who):
        """None when it passes, else the seconds that the answer's ``Retry-After`` says."""
        header = (b"authorization", f"Bearer {TOKENS[who]}".encode())
        try:
            await self.guard(Request({"type": "http", "headers": [header], "query_string": b""}))
        except RateLimitExceeded as refusal:
            return -(-refusal.retry_after // 1000)
        return None


pauses = st.sampled_from([0.0, 0.5, 7.0, 19.0, 33.3]) | st.floats(0, 25)
steps = st.lists(st.tuples(pauses, st.sampled_from(["sue", "sue", "kim"]), st.booleans()), min_size=4, max_size=30)
"""What happens: after so many s, somebody makes a request (or, as a user, sends a message)."""


async def passes(steps, kind):
    """Who passed when, and who was refused when for how long."""
    office, passed, refused = Office(kind), [], []
    for pause, who, _ in steps:
        office.now += pause
        wait = await office.request(who)
        (passed if wait is None else refused).append((office.now, who, wait))
    return passed, refused


async def check_limit(steps, kind=StaffGuard):
    """In no window are there more than the limit, and nobody is refused before it is reached."""
    passed, refused = await passes(steps, kind)
    for at, who, _ in [*passed, *refused]:
        recent = [time for time, other, _ in passed if other == who and at - SECONDS < time <= at]
        assert len(recent) <= LIMIT
    for at, who, _ in refused:
        assert len([1 for time, other, _ in passed if other == who and at - SECONDS < time <= at]) == LIMIT


async def check_wait(steps, kind=StaffGuard):
    """Who waits as long as told passes, and would not have passed a good second before."""
    office = Office(kind)
    for pause, who, _ in steps:
        office.now += pause
        if wait := await office.request(who):
            assert 1 <= wait <= SECONDS + 1
            office.now += wait - 1.1
            assert await office.request(who) is not None
            office.now += 1.1
            assert await office.request(who) is None


async def check_independence(steps, kind=StaffGuard):
    """What others ask, and what one sends as a user, changes nothing."""
    noisy, quiet = Office(kind), Office(kind)
    for pause, who, message in steps:
        noisy.now = quiet.now = noisy.now + pause
        if message:
            await noisy.quotas.hit(FRAMES, who)
        mine = await noisy.request(who)
        if who == "sue":
            assert await quiet.request(who) == mine


def run(check, *given_):
    asyncio.run(check(*given_))


@settings(max_examples=150)
@given(steps)
def test_no_window_has_more_requests_than_the_limit_and_nobody_is_refused_below_it(steps):
    run(check_limit, steps)


@settings(max_examples=150)
@given(steps)
def test_who_waits_as_long_as_told_passes(steps):
    run(check_wait, steps)


@settings(max_examples=150)
@given(steps)
def test_neither_others_nor_messages_as_a_user_count(steps):
    run(check_independence, steps)


class Unlimited(StaffGuard):
    """A guard that counts nothing."""

    async def _count(self, principal):
        pass


class Shared(StaffGuard):
    """A guard that counts all staff together."""

    async def _count(self, principal):
        if await self._quotas.hit(ADMIN_REQUESTS, "staff"):
            raise RateLimitExceeded("", retry_after=1000)


class WithMessages(StaffGuard):
    """A guard that counts requests among the messages of users."""

    async def _count(self, principal):
        if wait := await self._quotas.hit(FRAMES, principal.user_id):
            raise RateLimitExceeded("", retry_after=round(wait * 1000) + 1)


class Impatient(StaffGuard):
    """A guard that asks back too early."""

    async def _count(self, principal):
        if wait := await self._quotas.hit(ADMIN_REQUESTS, principal.user_id):
            raise RateLimitExceeded("", retry_after=round(wait * 500) + 1)


@pytest.mark.parametrize(
    ("check", "kind"),
    [
        (check_limit, Unlimited),
        (check_limit, Shared),
        (check_wait, Impatient),
        (check_independence, Shared),
        (check_independence, WithMessages),
    ],
    ids=lambda value: value.__name__,
)
def test_a_guard_with_a_defect_would_be_found(check, kind):
    @settings(max_examples=200, phases=[Phase.generate])
    @given(steps)
    def broken(steps):
        run(check, steps, kind)

    with mutants.found():
        broken()
