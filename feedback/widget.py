"""LOG, in the browser: `GET /v1/feedback/thumbs.js`, the component by which end users rate.

Any page may load the script: it holds nothing secret, and what it sends needs a receipt. Whether
that page may also post to `/v1/feedback` is up to the gateway's CORS settings. The component
itself is `web/thumbs.js`. Knows nothing of feedback's kinds or of who embeds it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from litestar import Request, Response, get
from litestar.handlers import HTTPRouteHandler

from feedback.web_file import load_web_file

THUMBS_FILE = Path(__file__).parent / "web" / "thumbs.js"
MAX_AGE_S = 3_600  # an upgraded gateway's component reaches every page within the hour


def widget_routes() -> list[HTTPRouteHandler]:
    """Return the route that serves the component."""
    script = load_web_file(
        THUMBS_FILE,
        cache_control=f"public, max-age={MAX_AGE_S}",
        access_control_allow_origin="*",  # module scripts of other origins are fetched with CORS
        cross_origin_resource_policy="cross-origin",  # also for pages that isolate themselves
    )

    @get("/v1/feedback/thumbs.js")
    async def serve_thumbs(request: Request[Any, Any, Any]) -> Response[bytes]:
        return script.response(request)

    return [serve_thumbs]
