"""Staff's routes against a real server: who may, what they answer, what they refuse. The table of routes is the
server's own description, so that a new route is asked the same questions."""

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from typing import NamedTuple

import jwt
import pytest
from msgspec.structs import replace

from chatbox.notify.base import Alert, Event
from chatbox.notify.claims import DEAD, Progress, record_of
from chatbox.session import now_ms
from tests.live import SECRET, running, token

EXPECTED = {200, 204}
LOTS = {"ADMIN_RATE_LIMIT": "100000"}

BODIES = {
    "POST /sessions/{session_id}/notes": {"content": "He is angry."},
    "POST /transfer/{session_id}": {"user_id": "kim"},
    "POST /revocations": {"user_id": "carl"},
    "POST /blocks": {"user_id": "carl"},
    "PUT /canned/{reply_id}": {"title": "Greeting", "text": "Good morning!"},
}
"""A good body for each route that takes one."""

ADMINS_ONLY = {"POST /revocations", "GET /audit/export"}
"""Routes for the role `admin` alone."""

AUDITED = {
    "GET /sessions/{session_id}": "read",
    "GET /sessions/{session_id}/notes": "read_notes",
    "POST /sessions/{session_id}/notes": "note",
    "POST /takeover/{session_id}": "takeover",
    "POST /release/{session_id}": "release",
    "POST /transfer/{session_id}": "transfer",
    "POST /revocations": "revoke",
    "POST /blocks": "block",
    "DELETE /blocks/{user_id}": "unblock",
    "PUT /canned/{reply_id}": "write_canned",
    "DELETE /canned/{reply_id}": "remove_canned",
    "POST /alerts/{alert_id}/retry": "retry_alert",
    "GET /audit/export": "export_audit",
}
"""What the audit log calls what is done there. What only looks at lists is not in it."""


class Route(NamedTuple):
    """One of staff's routes, as the description has it."""

    method: str
    path: str
    operation: dict

    @property
    def name(self):
        return f"{self.method} {self.path}"

    @property
    def queries(self):
        return [found for found in self.operation.get("parameters", []) if found["in"] == "query"]


async def routes_of(live):
    """Staff's routes, first those that others need to have been called."""
    spec = (await live.call("GET", "/openapi.json", user=None))[1]
    start = f"{live.app.config.path_prefix}/admin"
    found = [
        Route(method.upper(), path.removeprefix(start), operation)
        for path, methods in spec["paths"].items()
        if path.startswith(f"{start}/")
        for method, operation in methods.items()
    ]
    order = ["POST /takeover/{session_id}", "POST /transfer/{session_id}", "POST /release/{session_id}"]
    order += ["PUT /canned/{reply_id}", "DELETE /canned/{reply_id}"]
    found.sort(key=lambda route: order.index(route.name) if route.name in order else len(order))
    assert len(found) >= 20
    return found


@asynccontextmanager
async def colleague(live, user="kim"):
    """A member of staff who is online."""
    head = {"Authorization": f"Bearer {bearer(user, 'chat_admin')}"}
    async with live.session.ws_connect(f"{live.http}/admin/ws", headers=head) as line:
        await line.receive()
        yield line


def bearer(user="root", *roles, issued=None):
    """Staff's tokens; ``issued`` is their ``iat`` in s."""
    if issued is None:
        return token(user, roles=roles or ("admin",))
    claims = {"user_id": user, "roles": list(roles or ("admin",)), "exp": int(time.time()) + 3600, "iat": issued}
    return jwt.encode(claims, SECRET, "HS256")


async def ask(live, method, path, who="", *, headers=None, **options):
    """An answer to a call under ``/admin``: status, headers, and the body, parsed where it is JSON."""
    head = {"Authorization": f"Bearer {who}"} if who else {}
    url = f"{live.http}/admin{path}"
    async with live.session.request(method, url, headers=head | (headers or {}), **options) as answer:
        text = await answer.text()
        return (
            answer.status,
            answer.headers,
            json.loads(text) if text and answer.content_type == "application/json" else text,
        )


class Place:
    """A server with something for every route to find."""

    def __init__(self, live):
        self.live = live
        self.names = {}

    async def furnish(self):
        self.names = {"session_id": await talk(self.live), "user_id": "carl", "reply_id": "greeting"}
        alert = Alert(id="help:some:1", event=Event.HELP, at=now_ms(), user_id="ann")
        refused = Progress(waiting={}, refused={"email": {"a@b.example": "no such box"}})
        record = replace(record_of(alert, refused, now_ms(), None), key=DEAD, due=None)
        await self.live.app.storage.records.add(record)
        self.names["alert_id"] = alert.id

    async def call(self, route, who="", **options):
        """Call a route with what it needs."""
        path = route.path.format(**self.names)
        if body := BODIES.get(route.name):
            options = {"json": body} | options
        return await ask(self.live, route.method, path, who, **options)


async def talk(live, *texts, user="ann"):
    """A conversation with one answer a text; its id."""
    async with live.socket(user) as line:
        session_id = (await line.next())["session_id"]
        for number, text in enumerate(texts or ["Hello there."]):
            await line.say("user_message", message_id=f"m{number}", content=text)
            await line.answer()
    return session_id


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path, LOTS) as server:
        yield server


@pytest.fixture
async def place(live):
    place = Place(live)
    await place.furnish()
    return place


# -- every route -------------------------------------------------------------------------------------------------------


async def test_every_staff_route_takes_what_it_says_and_nothing_is_forgotten_here(place):
    routes = await routes_of(place.live)
    assert {route.name for route in routes if route.operation.get("requestBody")} == set(BODIES)
    assert {route.name for route in routes if route.method != "GET"} <= set(AUDITED)
    assert ADMINS_ONLY | set(AUDITED) <= {route.name for route in routes}
    for route in routes:
        assert route.operation["security"], route.name
        assert route.operation["tags"] == ["staff"], route.name


async def test_no_staff_route_answers_without_a_token(place):
    for route in await routes_of(place.live):
        for header in ({}, {"Authorization": "Bearer "}, {"Authorization": "Bearer x.y.z"}):
            status, headers, body = await place.call(route, headers=header)
            assert (status, body["code"], headers["WWW-Authenticate"]) == (401, "INVALID_TOKEN", "Bearer"), route.name
        assert (await place.call(route, bearer("root", "admin") + "x"))[0] == 401, route.name


@pytest.mark.parametrize("roles", [("user",), ("Admin",), ("chat_admin ",), ("administrator", "chat-admin")])
async def test_no_staff_route_answers_a_user(place, roles):
    for route in await routes_of(place.live):
        status, _, body = await place.call(route, bearer("ann", *roles))
        assert (status, body["code"]) == (403, "INSUFFICIENT_PERMISSIONS"), route.name


async def test_every_staff_route_answers_an_administrator(place):
    async with colleague(place.live):
        for route in await routes_of(place.live):
            status, _, body = await place.call(route, bearer("root", "admin"))
            assert status in EXPECTED, (route.name, body)


async def test_only_administrators_revoke_and_export(place):
    for route in await routes_of(place.live):
        status, _, body = await place.call(route, bearer("sue", "chat_admin"))
        if route.name in ADMINS_ONLY:
            assert (status, body["code"]) == (403, "INSUFFICIENT_PERMISSIONS"), route.name
        else:
            assert status not in (401, 403), (route.name, body)


async def test_no_staff_route_answers_a_revoked_token_and_all_do_a_fresh_one(place):
    old, fresh = bearer("sue", "chat_admin"), bearer("sue", "chat_admin", issued=int(time.time()) + 20)
    assert (await ask(place.live, "POST", "/revocations", bearer(), json={"user_id": "sue"}))[0] == 200
    without = jwt.encode({"user_id": "sue", "roles": ["admin"], "exp": int(time.time()) + 3600}, SECRET, "HS256")
    for route in await routes_of(place.live):
        for one in (old, without):
            status, headers, body = await place.call(route, one)
            assert (status, body["code"], headers["WWW-Authenticate"]) == (401, "INVALID_TOKEN", "Bearer"), route.name
        assert (await place.call(route, fresh))[0] != 401, route.name


async def test_no_staff_route_answers_one_who_is_blocked(place):
    assert (await ask(place.live, "POST", "/blocks", bearer(), json={"user_id": "sue"}))[0] == 200
    for route in await routes_of(place.live):
        for roles in (("chat_admin",), ("admin",)):
            status, _, body = await place.call(route, bearer("sue", *roles))
            assert (status, body["code"]) == (403, "INSUFFICIENT_PERMISSIONS"), route.name
            assert "blocked" in body["error"], route.name


def wrong_values(schema):
    """Values that a query parameter does not take, by its description."""
    kinds = [kind for kind in schema.get("anyOf", [schema]) if kind.get("type") != "null"]
    for kind in kinds:
        if kind.get("type") == "integer":
            yield from ("", "many", "1.5", "NaN", "9" * 5000, str(kind.get("minimum", 0) - 1))
            if "maximum" in kind:
                yield str(kind["maximum"] + 1)
        elif kind.get("type") == "boolean":
            yield from ("", "maybe", "2")
        elif kind.get("format") == "date-time":
            yield from ("", "yesterday", "2026-11-21", "2026-11-21T08:00:00", "1763712000", "2026-02-30T08:00:00Z")
            yield from ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-11-21T08:00:00 01:00")
        elif "enum" in kind or "$ref" in kind:
            yield from ("", "x", "ACTIVE")
        elif "maxLength" in kind:
            yield "x" * (kind["maxLength"] + 1)


async def test_a_wrong_parameter_is_400_and_says_which_on_every_route(place):
    asked = 0
    for route in await routes_of(place.live):
        for parameter in route.queries:
            values = list(wrong_values(parameter["schema"]))
            assert values, (route.name, parameter)
            for value in values:
                status, _, body = await place.call(route, bearer(), params={parameter["name"]: value})
                assert (status, body.get("code")) == (400, "INVALID_FORMAT"), (route.name, parameter["name"], value)
                assert parameter["name"] in body["error"], (route.name, value, body)
                asked += 1
    assert asked > 100


async def test_a_parameter_that_does_not_exist_is_400_where_it_would_let_everything_through(live):
    for path in ("/sessions", "/users/ann/sessions", "/metrics", "/series"):
        status, _, body = await ask(live, "GET", path, bearer(), params={"statsu": "active"})
        assert (status, "statsu" in body["error"]) == (400, True), path


async def test_a_parameter_that_is_given_twice_is_400_on_every_route_that_takes_one(place):
    for route in await routes_of(place.live):
        for parameter in route.queries:
            name = parameter["name"]
            status, _, body = await place.call(route, bearer(), params=[(name, "1"), (name, "1")])
            assert (status, f"{name}: it is given more than once" in body["error"]) == (400, True), route.name


WRONG_BODIES = {
    "POST /sessions/{session_id}/notes": [
        {}, {"content": ""}, {"content": " \0 "}, {"content": 1}, {"content": "x" * 10_001},
        {"content": "x", "message_id": ""}, {"content": "x", "message_id": "x" * 65},
    ],
    "POST /transfer/{session_id}": [{}, {"user_id": ""}, {"user_id": "x" * 129}, {"user_id": 7}],
    "POST /revocations": [
        {}, {"user_id": ""}, {"user_id": " carl"}, {"user_id": "carl\n"}, {"user_id": "x" * 129},
        {"user_id": "carl", "before": "now"}, {"user_id": "carl", "before": "2999-01-01T00:00:00Z"},
        {"user_id": "carl", "before": -1}, {"user_id": "carl", "before": True}, {"user_id": "carl", "before": 9e15},
        {"user_id": "carl", "before": []},
    ],
    "POST /blocks": [
        {}, {"user_id": None}, {"user_id": "carl\u2028"}, {"user_id": "carl", "until": "2020-01-01T00:00:00Z"},
        {"user_id": "carl", "until": 1}, {"user_id": "carl", "reason": "x" * 501},
    ],
    "PUT /canned/{reply_id}": [
        {}, {"title": "x"}, {"text": "x"}, {"title": " ", "text": "x"}, {"title": "x", "text": "\0"},
        {"title": "x" * 101, "text": "x"}, {"title": "x", "text": "x" * 10_001},
    ],
}  # fmt: skip


async def test_a_wrong_body_is_400_and_says_which_on_every_route(place):
    assert set(WRONG_BODIES) == set(BODIES)
    for route in await routes_of(place.live):
        for body in WRONG_BODIES.get(route.name, []):
            status, _, said = await place.call(route, bearer(), json=body)
            assert (status, said["code"]) == (400, "INVALID_FORMAT"), (route.name, body)
            assert said["error"].startswith("body"), said
    assert (await ask(place.live, "GET", "/blocks", bearer()))[2]["total"] == 0


NOT_STRICT = [
    b'{"user_id": "carl", "user_id": "ann"}',
    b'{"user_id": "carl", "before": NaN}',
    b'{"user_id": "carl", "before": 1e999}',
    b'{"user_id": "carl\\ud800"}',
    b'{"user_id": "\xff"}',
    b'{"user_id": ' + b"[" * 5000,
    b"null",
    b"",
]


async def test_every_body_is_strict_json(place):
    for route in await routes_of(place.live):
        if route.name not in BODIES:
            continue
        for body in NOT_STRICT:
            for kind in ("application/json", "application/merge-patch+json"):
                status, _, said = await place.call(
                    route, bearer(), json=None, data=body, headers={"Content-Type": kind}
                )
                assert (status, said["code"]) == (400, "INVALID_FORMAT"), (route.name, body)


async def test_what_does_not_exist_is_404_on_every_route_that_names_something(place):
    place.names |= {"session_id": "A" * 22, "reply_id": "nothing", "alert_id": "nothing"}
    for route in await routes_of(place.live):
        if "{" in route.path and "{user_id}" not in route.path and route.method != "PUT":
            status, _, body = await place.call(route, bearer())
            assert (status, body["code"]) == (404, "NOT_FOUND"), route.name


ODD = [
    "..",
    "%2e%2e",
    "%00",
    "%ff%fe",
    "a%2fb",
    "x" * 129,
    "%F0%9F%A6%8A",
    "'; DROP TABLE sessions;--",
    "$ne",
    "*",
    "+",
]


async def test_odd_names_are_as_good_as_others_and_nothing_breaks(place):
    """Paths are sent as they stand, as a browser would not."""
    for route in await routes_of(place.live):
        names = re.findall(r"\{(\w+)\}", route.path)
        for odd in ODD if names else []:
            place.names = dict.fromkeys(names, odd)
            status = await raw_status(place.live, route, place.names)
            assert status in (200, 204, 400, 404), (route.name, odd, status)


async def raw_status(live, route, names):
    body = json.dumps(BODIES[route.name]).encode() if route.name in BODIES else b""
    path = f"{live.app.config.path_prefix}/admin" + route.path.format(**names).replace(" ", "%20")
    reader, writer = await asyncio.open_connection("127.0.0.1", live.port)
    head = f"{route.method} {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {bearer()}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    writer.write(head.encode() + body)
    async with asyncio.timeout(10):
        answer = await reader.read()
    writer.close()
    return int(answer.split()[1])


async def test_whatever_staff_do_is_in_the_audit_log(place):
    async with colleague(place.live):
        for route in await routes_of(place.live):
            before = await acts(place.live)
            status, _, _ = await place.call(route, bearer("root", "admin"))
            assert status in EXPECTED, route.name
            new = [act for act in await acts(place.live) if act not in before]
            expected = AUDITED.get(route.name)
            assert [(act["action"], act["refused"]) for act in new] == ([(expected, "")] if expected else []), (
                route.name
            )
            for act in new:
                assert (act["admin_id"], act["admin_name"], act["roles"]) == ("root", "Root", ["admin"])
                assert "angry" not in str(act)
                assert act["session_id"] == (place.names["session_id"] if "{session_id}" in route.path else "")


async def acts(live):
    return (await ask(live, "GET", "/audit?limit=1000", bearer()))[2]["entries"]


async def test_what_was_refused_is_in_the_audit_log_as_such(place):
    session_id = place.names["session_id"]
    assert (await ask(place.live, "POST", f"/takeover/{session_id}", bearer("sue", "chat_admin")))[0] == 200
    status, _, body = await ask(place.live, "POST", f"/takeover/{session_id}", bearer("kim", "chat_admin"))
    assert (status, body["code"]) == (409, "CONFLICT")
    assert "Sue" in body["error"]
    found = [(act["admin_id"], act["action"], act["refused"]) for act in await acts(place.live)]
    assert found == [("kim", "takeover", "CONFLICT"), ("sue", "takeover", "")]
