"""The built web side: one page with client-side routes, and its assets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Response
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

PAGES = Path(__file__).parent.parent / "pages"

MISSING = (
    "The pages of Chatbox are not built. In a checkout, run `make install`; "
    "an installed package has them. The API works without them.\n"
)

EMBEDDABLE = {"Cross-Origin-Resource-Policy": "cross-origin"}


def routes(prefix: str, frame_ancestors: Sequence[str], folder: Path = PAGES) -> APIRouter:
    """``frame_ancestors`` are the origins that may show the pages in a frame, as CSP writes them."""
    router = APIRouter()
    policy = _policy(frame_ancestors)

    async def page(_request: object) -> Response:
        index = folder / "index.html"
        if not index.is_file():
            return PlainTextResponse(MISSING, 503)
        html = index.read_text("utf-8").replace("<!--base-->", f'<base href="{prefix}/">')
        return HTMLResponse(html, headers={"Content-Security-Policy": policy, "Cache-Control": "no-cache"} | EMBEDDABLE)

    if prefix:

        @router.get("", include_in_schema=False)
        async def to_the_page() -> Response:
            return RedirectResponse(f"{prefix}/")

    for path in ("/", "/c/{session_id}", "/s/{share_token}", "/staff", "/staff/c/{session_id}"):
        router.routes.append(Route(path, page, methods=["GET"]))
    router.routes.append(Mount("/assets", _Assets(directory=folder / "assets", check_dir=False)))
    return router


class _Assets(StaticFiles):
    """Files whose names change with their contents."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers.update({"Cache-Control": "public, max-age=31536000, immutable"} | EMBEDDABLE)
        return response


def _policy(frame_ancestors: Sequence[str]) -> str:
    rules = {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data: blob:",
        "font-src": "'self'",
        "connect-src": "'self'",
        "manifest-src": "'self'",
        "base-uri": "'self'",
        "form-action": "'none'",
        "frame-ancestors": " ".join(["'self'", *frame_ancestors]),
    }
    return "; ".join(f"{name} {value}" for name, value in rules.items())
