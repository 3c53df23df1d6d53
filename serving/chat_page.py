"""SERVE, in the browser: `GET /chat`, a page on which a person tries the service.

Plain files from `web/`, under a policy that lets the page load and call nothing but this gateway.
The page has no rights of its own: it asks with the API key that its user types in, and rates with
receipts, as any application does. Knows nothing of how either is answered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.exceptions import NotFoundException
from litestar.handlers import HTTPRouteHandler

from core.settings import Settings
from feedback.web_file import load_web_file

FOLDER = Path(__file__).parent / "web"
# `trusted-types 'none'` makes the browser refuse to turn any text into HTML, an answer's above all
POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    )
)


def chat_routes(settings: Settings) -> list[HTTPRouteHandler]:
    """Return the page's routes; none when `gateway.chat` says that there is no page."""
    if not settings.gateway.shows_chat:
        return []
    files = {
        path.name: load_web_file(
            path,
            cache_control="no-cache",  # asks each time, and gets 304: page and script always fit
            content_security_policy=POLICY,
            referrer_policy="no-referrer",
            cross_origin_opener_policy="same-origin",
        )
        for path in FOLDER.iterdir()
    }

    @get("/chat")
    async def serve_chat(request: Request[Any, Any, Any]) -> Response[bytes]:
        return files["chat.html"].response(request)

    @get("/chat/{name:str}")
    async def serve_chat_file(request: Request[Any, Any, Any], name: str) -> Response[bytes]:
        if name not in files:
            raise NotFoundException(f"the chat page has no file {name!r}")
        return files[name].response(request)

    return [serve_chat, serve_chat_file]
