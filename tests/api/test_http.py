"""HTTP against a real server: every route, every refusal, and what all answers have in common."""

import asyncio
import itertools
import json
import re

import aiohttp
import pytest
from structlog.testing import capture_logs

from chatbox.session import STEP
from tests.live import running, token

HEADERS = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}


@pytest.fixture
async def live(tmp_path):
    async with running(tmp_path, {"MAX_MESSAGE_SIZE": "4096", "ALLOWED_ORIGINS": "http://localhost:5173"}) as server:
        yield server


async def talk(live, *texts, user="ann"):
    """A conversation with one answer a text; its id."""
    async with live.socket(user) as line:
        session_id = (await line.next())["session_id"]
        for number, text in enumerate(texts or ["Hello there."]):
            await line.say("user_message", message_id=f"m{number}", content=text)
            await line.answer()
    return session_id


async def raw(live, method, path, *, user="ann", headers=None, **options):
    """An answer with its headers."""
    head = ({"Authorization": f"Bearer {token(user)}"} if user else {}) | (headers or {})
    options = {"allow_redirects": False} | options
    async with live.session.request(method, live.http + path, headers=head, **options) as answer:
        return answer.status, answer.headers, await answer.text()


# -- sessions ----------------------------------------------------------------------------------------------------------


async def test_the_list_has_the_callers_sessions_and_says_whether_there_are_more(live):
    session_id = await talk(live)
    status, body = await live.call("GET", "/sessions?limit=1")
    assert status == 200
    assert {key: body[key] for key in ("user_id", "count", "limit", "truncated", "next_cursor")} == {
        "user_id": "ann",
        "count": 1,
        "limit": 1,
        "truncated": False,
        "next_cursor": None,
    }
    (session,) = body["sessions"]
    assert (session["id"], session["name"], session["message_count"]) == (session_id, "Hello there.", 2)
    assert session["is_active"]
    assert session["end_time"] is None
    assert session["total_tokens"] > 0
    assert (await live.call("GET", "/sessions", user="bob"))[1]["sessions"] == []


async def test_a_conversation_is_read_with_the_position_to_connect_from(live):
    session_id = await talk(live, "one", "two")
    status, body = await live.call("GET", f"/sessions/{session_id}")
    assert status == 200
    assert [(m["sender"], m["content"]) for m in body["messages"]] == [
        ("user", "one"), ("ai", "one"), ("user", "two"), ("ai", "two"),
    ]  # fmt: skip
    assert (body["session_id"], body["name"], body["before"]) == (session_id, "one", None)
    async with live.socket(session_id=session_id, epoch=body["epoch"], last_seq=str(body["seq"])) as line:
        first = await line.next()
        assert (first["metadata"]["resumed"], first["seq"]) == ("true", body["seq"])
    _, earlier = await live.call("GET", f"/sessions/{session_id}?before={4 * STEP}")
    assert [m["content"] for m in earlier["messages"]] == ["one", "one"]


async def test_a_session_is_renamed_and_open_chats_are_told(live):
    session_id = await talk(live)
    async with live.socket(session_id=session_id) as line:
        status, body = await live.call("PATCH", f"/sessions/{session_id}", json={"name": "  A\n trip\0 "})
        assert (status, body["name"]) == (200, "A trip")
        assert (await line.next("notification"))["metadata"] == {"event": "session_renamed", "name": "A trip"}


async def test_a_session_is_ended_twice_and_goes_on_when_something_is_said(live):
    session_id = await talk(live)
    for _ in range(2):
        assert await live.call("POST", f"/sessions/{session_id}/end") == (200, {"status": "ended"})
    session = (await live.call("GET", "/sessions"))[1]["sessions"][0]
    assert not session["is_active"]
    assert session["end_time"] == session["last_activity"]


async def test_a_deleted_session_is_gone_with_its_link_and_its_sockets(live):
    session_id = await talk(live)
    share = (await live.call("POST", f"/sessions/{session_id}/share"))[1]["share_token"]
    async with live.socket(session_id=session_id) as line:
        assert (await raw(live, "DELETE", f"/sessions/{session_id}"))[0] == 204
        assert await line.closed() == 1000
    for path in (f"/sessions/{session_id}", f"/shared/{share}"):
        assert (await live.call("GET", path))[0] == 404


@pytest.mark.parametrize(("form", "kind"), [("json", "application/json"), ("markdown", "text/markdown; charset=utf-8")])
async def test_a_conversation_is_downloaded(live, form, kind):
    session_id = await talk(live, "Grüße")
    status, headers, text = await raw(live, "GET", f"/sessions/{session_id}/export?format={form}")
    assert (status, headers["Content-Type"]) == (200, kind)
    assert headers["Content-Disposition"].startswith(f'attachment; filename="chat-{session_id}.')
    assert "Grüße" in text


async def test_a_link_shows_the_conversation_to_anyone_until_it_is_revoked(live):
    session_id = await talk(live)
    share = (await live.call("POST", f"/sessions/{session_id}/share"))[1]["share_token"]
    assert len(share) >= 22
    assert (await live.call("POST", f"/sessions/{session_id}/share"))[1]["share_token"] == share
    status, body = await live.call("GET", f"/shared/{share}", user=None)
    assert (status, set(body)) == (200, {"session_id", "name", "messages"})
    assert (await live.call("GET", "/sessions"))[1]["sessions"][0]["share_token"] == share
    assert (await raw(live, "DELETE", f"/sessions/{session_id}/share"))[0] == 204
    assert (await live.call("GET", f"/shared/{share}", user=None))[0] == 404


async def test_readers_of_links_are_limited_by_address(live):
    for _ in range(60):
        assert (await live.call("GET", "/shared/unknown", user=None))[0] == 404
    status, headers, text = await raw(live, "GET", "/shared/unknown", user=None)
    assert (status, json.loads(text)["code"]) == (429, "TOO_MANY_REQUESTS")
    assert 0 < int(headers["Retry-After"]) <= 61


# -- who may -----------------------------------------------------------------------------------------------------------


async def operations(live):
    """Every route that needs a token, with its method, from the routes themselves."""
    spec = (await live.call("GET", "/openapi.json", user=None))[1]
    prefix = live.app.config.path_prefix
    return [
        (method.upper(), path.removeprefix(prefix))
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
        if operation.get("security")
    ]


async def test_another_users_session_is_as_if_it_did_not_exist_on_every_route(live):
    session_id = await talk(live, user="ann")
    routes = [route for route in await operations(live) if route[1].startswith("/sessions/{session_id}")]
    assert len(routes) >= 7
    for method, path in routes:
        body = {"json": {"name": "mine now"}} if method == "PATCH" else {}
        answers = [
            await raw(live, method, path.format(session_id=name), user="bob", **body) for name in (session_id, "A" * 22)
        ]
        assert {status for status, _, _ in answers} == {404}
        assert answers[0][2] == answers[1][2]
    assert (await live.call("GET", f"/sessions/{session_id}"))[1]["name"] == "Hello there."


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer x.y.z", "Basic YTpi", "bearer  "])
async def test_no_route_answers_without_a_good_token(live, header):
    for method, path in await operations(live):
        head = {} if header is None else {"Authorization": header}
        status, headers, text = await raw(
            live, method, re.sub(r"\{\w+\}", "s", path), user=None, headers=head, json={"name": "x"}
        )
        assert (status, json.loads(text)["code"], headers["WWW-Authenticate"]) == (401, "INVALID_TOKEN", "Bearer")


async def test_an_expired_token_is_told_apart(live):
    head = {"Authorization": f"Bearer {token(lifetime=-60)}"}
    status, _, text = await raw(live, "GET", "/sessions", user=None, headers=head)
    assert (status, json.loads(text)["code"]) == (401, "EXPIRED_TOKEN")


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/sessions?limit=0", None, "limit"),
        ("GET", "/sessions?limit=101", None, "limit"),
        ("GET", "/sessions?limit=many", None, "limit"),
        ("GET", "/sessions?q=" + "x" * 201, None, "q"),
        ("GET", "/sessions?cursor=nonsense", None, "cursor"),
        ("GET", "/sessions/{id}?before=0", None, "before"),
        ("GET", "/sessions/{id}?before=9007199254740993", None, "before"),
        ("GET", "/sessions/{id}/export?format=pdf", None, "format"),
        ("PATCH", "/sessions/{id}", "{", "body"),
        ("PATCH", "/sessions/{id}", "[]", "body"),
        ("PATCH", "/sessions/{id}", "{}", "name"),
        ("PATCH", "/sessions/{id}", '{"name": 1}', "name"),
        ("PATCH", "/sessions/{id}", '{"name": null}', "name"),
        ("PATCH", "/sessions/{id}", json.dumps({"name": "x" * 201}), "name"),
        ("PATCH", "/sessions/{id}", '{"name": " \\n "}', "name"),
    ],
)
async def test_a_wrong_value_is_400_and_says_which(live, method, path, body, field):
    session_id = await talk(live)
    json_head = {"Content-Type": "application/json"}
    status, _, text = await raw(live, method, path.format(id=session_id), data=body, headers=json_head)
    assert status == 400
    assert field in json.loads(text)["error"]
    assert json.loads(text)["code"] in ("INVALID_FORMAT", "MISSING_FIELD")


NOT_STRICT = {
    "a key twice": b'{"name": "one", "name": "two"}',
    "a key twice inside": b'{"name": "one", "more": {"a": 1, "a": 2}}',
    "not a number": b'{"name": "one", "more": NaN}',
    "infinite": b'{"name": "one", "more": 1e999}',
    "huge": b'{"name": "one", "more": 9007199254740993}',
    "half a surrogate pair": b'{"name": "\\ud800"}',
    "not UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "one"}'.encode("utf-16"),
    "deep": b'{"name": "one", "more": ' + b"[" * 40 + b"]" * 40 + b"}",
    "very deep": b'{"name": ' + b"[" * 2000,
}


async def test_every_body_is_strict_json(live):
    session_id = await talk(live)
    spec = (await live.call("GET", "/openapi.json", user=None))[1]
    taking = [
        (method, path.removeprefix(live.app.config.path_prefix).format(session_id=session_id))
        for path, methods in spec["paths"].items()
        for method, operation in methods.items()
        if "application/json" in operation.get("requestBody", {}).get("content", {}) and "/admin/" not in path
    ]
    assert taking
    for method, path in taking:
        for name, body in NOT_STRICT.items():
            for kind in ("application/json", "application/merge-patch+json"):
                status, _, text = await raw(live, method, path, data=body, headers={"Content-Type": kind})
                assert (status, json.loads(text)["code"]) == (400, "INVALID_FORMAT"), name
                assert json.loads(text)["error"].startswith("body: "), name
    assert (await live.call("GET", f"/sessions/{session_id}"))[1]["name"] == "Hello there."


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nothing/here", 404, "NOT_FOUND"),
        ("GET", "/assets/../../../etc/passwd", 404, "NOT_FOUND"),
        ("GET", "/assets/..%2f..%2fapp.py", 404, "NOT_FOUND"),
        ("PUT", "/sessions", 405, "INVALID_FORMAT"),
        ("BREW", "/healthz", 400, None),
        ("GET", "/sessions/", 404, "NOT_FOUND"),
        ("GET", "/sessions/%00%ff", 404, "NOT_FOUND"),
        ("GET", "/sessions/" + "x" * 5000, 404, "NOT_FOUND"),
    ],
)
async def test_what_is_not_there_has_the_shape_of_every_error(live, method, path, status, code):
    found, _, text = await raw(live, method, path)
    assert found == status
    if code:
        assert set(json.loads(text)) == {"error", "code"}
        assert json.loads(text)["code"] == code


@pytest.mark.parametrize(
    ("path", "methods"),
    [
        ("/sessions", {"GET", "HEAD"}),
        ("/sessions/s", {"GET", "HEAD", "PATCH", "DELETE"}),
        ("/sessions/s/share", {"POST", "DELETE"}),
        ("/sessions/s/end", {"POST"}),
        ("/", {"GET", "HEAD"}),
    ],
)
async def test_a_wrong_method_is_told_the_right_ones(live, path, methods):
    for method in {"GET", "PUT", "POST", "PATCH", "DELETE", "TRACE", "OPTIONS"} - methods:
        status, headers, _ = await raw(live, method, path)
        assert (status, set(headers["Allow"].split(", "))) == (405, methods), method


async def test_a_body_that_is_too_large_is_refused_with_and_without_its_length(live):
    session_id = await talk(live)

    async def chunks():
        for _ in range(100):
            yield b"x" * 1000

    for data in (b"x" * 5000, chunks()):
        head = {"Content-Type": "application/json"}
        status, _, text = await raw(live, "PATCH", f"/sessions/{session_id}", data=data, headers=head)
        assert (status, json.loads(text)["code"]) == (413, "INVALID_FORMAT")


async def test_head_is_get_without_a_body(live):
    session_id = await talk(live)
    for path in ("/healthz", "/sessions", f"/sessions/{session_id}/export", "/nothing"):
        get, head = await raw(live, "GET", path), await raw(live, "HEAD", path)
        assert (head[0], head[2]) == (get[0], "")
        assert head[1]["Content-Type"] == get[1]["Content-Type"]


async def test_a_store_that_fails_is_told_as_such_and_a_bug_says_nothing(live, monkeypatch):
    from chatbox.errors import StorageBusy

    async def fail(*_args, **_kwargs):
        raise error

    monkeypatch.setattr(live.app.storage, "find", fail)
    error = StorageBusy("disk /secret/path is full")
    status, headers, text = await raw(live, "GET", "/sessions")
    assert (status, json.loads(text)["code"], headers["Retry-After"]) == (503, "DATABASE_ERROR", "1")
    error = ZeroDivisionError("a secret")
    with capture_logs() as logs:
        again = await raw(live, "GET", "/sessions")
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["a request failed"]
    assert (again[0], json.loads(again[2])["code"]) == (500, "SERVICE_ERROR")
    assert "secret" not in text + again[2]
    assert HEADERS.items() <= dict(again[1]).items()
    monkeypatch.undo()
    assert (await raw(live, "GET", "/sessions"))[0] == 200


async def test_probes_are_logged_only_when_something_is_wrong(live, monkeypatch):
    from chatbox.errors import StorageBusy

    async def fail():
        raise StorageBusy("the disk is full")

    with capture_logs() as logs:
        for path in ("/healthz", "/readyz", "/metrics/prometheus", "/page.json"):
            await raw(live, "GET", path)
        monkeypatch.setattr(live.app.storage, "check", fail)
        monkeypatch.setattr(live.app.health, "_checked", -10.0)
        await raw(live, "GET", "/readyz")
    requests = [(line["route"], line["status"]) for line in logs if line["log_level"] == "info"]
    assert requests == [("/page.json", 200), ("/readyz", 503)]


# -- what all answers have in common -----------------------------------------------------------------------------------


async def test_every_answer_has_the_security_headers(live):
    paths = ["/", "/sessions", "/healthz", "/readyz", "/openapi.json", "/page.json", "/nothing", "/assets/nothing", ""]
    for path in paths:
        _, headers, _ = await raw(live, "GET", path)
        assert HEADERS.items() <= dict(headers).items()
        assert "Content-Security-Policy" in headers
        assert headers["Cache-Control"] in ("no-store", "no-cache")
        assert "unsafe" not in headers["Content-Security-Policy"]


async def test_the_page_may_be_framed_by_the_allowed_origins_only_and_names_its_base(live):
    status, headers, text = await raw(live, "GET", "/", user=None)
    if status == 503:
        pytest.skip("the pages are not built")
    assert "frame-ancestors 'self' http://localhost:5173" in headers["Content-Security-Policy"]
    assert '<base href="/chatbox/">' in text
    for path in ("/c/some-session", "/s/some-token", "/staff"):
        assert (await raw(live, "GET", path, user=None))[2] == text
    script = re.search(r'src="\.?/?(assets/[^"]+\.js)"', text).group(1)
    _, headers, _ = await raw(live, "GET", f"/{script}", user=None)
    assert headers["Cache-Control"] == "public, max-age=31536000, immutable"
    assert headers["Cross-Origin-Resource-Policy"] == "cross-origin"


async def test_a_socket_where_there_is_none_is_refused(live):
    with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
        await live.session.ws_connect(f"{live.http}/nothing")
    assert refused.value.status == 403


async def test_the_bare_prefix_leads_to_the_page(live):
    status, headers, _ = await raw(live, "GET", "", user=None)
    assert (status, headers["Location"]) == (307, "/chatbox/")


async def test_pages_that_are_not_built_say_what_to_do(tmp_path):
    from fastapi import FastAPI

    from chatbox.api import pages

    app = FastAPI()
    app.include_router(pages.routes("", (), tmp_path))
    assert await ask(app, "/") == (503, pages.MISSING)


async def ask(app, path):
    """One request without a server."""
    sent = []

    async def receive():
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": [],
    }
    await app(scope | {"http_version": "1.1", "scheme": "http", "server": ("t", 1), "client": None}, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent[1:]).decode()


async def test_only_allowed_pages_may_call_from_another_origin(live):
    asking = {"Access-Control-Request-Method": "PATCH", "Access-Control-Request-Headers": "authorization,content-type"}
    for origin, allowed in [("http://localhost:5173", "http://localhost:5173"), ("http://evil.example", None)]:
        _, headers, _ = await raw(live, "OPTIONS", "/sessions", user=None, headers={"Origin": origin} | asking)
        assert headers.get("Access-Control-Allow-Origin") == allowed
        _, headers, _ = await raw(live, "GET", "/sessions", headers={"Origin": origin})
        assert headers.get("Access-Control-Allow-Origin") == allowed
        assert "Access-Control-Allow-Credentials" not in headers


@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost:8080", 200), ("127.0.0.1", 200), ("[::1]:80", 200), ("[::1]", 200), ("evil.example", 421), ("", 421)],
)
async def test_development_answers_to_this_machines_names_only(live, host, status):
    assert (await raw(live, "GET", "/healthz", headers={"Host": host}))[0] == status


# -- operations --------------------------------------------------------------------------------------------------------


async def test_health_needs_nothing_and_readiness_tells_the_truth(live, monkeypatch):
    from chatbox import health
    from chatbox.errors import StorageBusy

    monkeypatch.setattr(health, "FRESH", 0.0)
    assert (await live.call("GET", "/readyz", user=None))[1]["status"] == "ready"

    async def fail():
        raise StorageBusy("no")

    monkeypatch.setattr(live.app.storage, "check", fail)
    status, body = await live.call("GET", "/readyz", user=None)
    assert (status, body["status"], body["checks"]["store"]) == (503, "not ready", "StorageBusy")
    assert (await live.call("GET", "/healthz", user=None))[1]["status"] == "healthy"


async def test_health_is_never_refused_however_often_it_is_asked(live):
    answers = await asyncio.gather(*[live.call("GET", path, user=None) for path in ("/healthz", "/readyz") * 100])
    assert {status for status, _ in answers} == {200}


async def test_metrics_are_for_the_allowed_networks(live, tmp_path):
    await talk(live)
    status, _, text = await raw(live, "GET", "/metrics/prometheus", user=None)
    assert status == 200
    for line in ("chatbox_sessions_created_total 1.0", 'chatbox_llm_requests_total{provider="echo"} 1.0'):
        assert line in text
    assert 'endpoint="/sessions/{session_id}",method="GET"' in (await metrics_after_a_read(live))
    async with running(tmp_path / "other", {"METRICS_ALLOWED_NETWORKS": "10.0.0.0/8"}) as other:
        assert (await other.call("GET", "/metrics/prometheus", user=None))[0] == 403


async def metrics_after_a_read(live):
    await live.call("GET", "/sessions/nothing")
    return (await raw(live, "GET", "/metrics/prometheus", user=None))[2]


@pytest.mark.parametrize(
    ("address", "inside"), [("::ffff:10.1.2.3", True), ("10.1.2.3", True), ("8.8.8.8", False), ("testclient", False)]
)
def test_an_address_is_inside_also_when_it_is_written_as_ipv6(address, inside):
    from ipaddress import ip_network

    from starlette.requests import Request

    from chatbox.api.ops import _inside

    request = Request({"type": "http", "client": (address, 1), "headers": []})
    assert _inside(request, [ip_network("10.0.0.0/8")]) is inside
    assert not _inside(Request({"type": "http", "client": None, "headers": []}), [ip_network("10.0.0.0/8")])


async def test_the_description_of_the_routes_is_public_and_complete(live):
    status, spec = await live.call("GET", "/openapi.json", user=None)
    assert status == 200
    assert spec["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert "HTTPValidationError" not in spec["components"]["schemas"]
    operations = list(itertools.chain.from_iterable(methods.values() for methods in spec["paths"].values()))
    assert all("default" in operation["responses"] and "description" in operation for operation in operations)
    assert all("422" not in operation["responses"] for operation in operations)


async def test_the_page_learns_what_it_needs_before_anyone_has_signed_in(live):
    body = (await live.call("GET", "/page.json", user=None))[1]
    assert (body["mode"], body["prefix"], body["demo_model"]) == ("development", "/chatbox", False)


async def test_ids_and_share_tokens_are_random_enough(live):
    ids = [await talk(live, user=f"user{n}") for n in range(5)]
    assert len(set(ids)) == 5
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{22}", one) for one in ids)
