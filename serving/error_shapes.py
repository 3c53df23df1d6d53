"""SERVE: errors as each path's clients read them: Anthropic's shape on its path, else OpenAI's.

The handlers of `feedback.http_errors` decide status, headers and words; this only puts them into
the other shape where the path asks for it. Knows nothing of why an error came up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from litestar import Request, Response
from litestar.types import ExceptionHandlersMap

from feedback.http_errors import exception_handlers
from serving.dialects.messages import MESSAGES, anthropic_error

AnyRequest = Request[Any, Any, Any]
Handler = Callable[[AnyRequest, Any], Response[dict[str, Any]]]


def _shaped(handler: Handler) -> Handler:
    """Return the handler with its answer in the shape of the request's path."""

    def handle(request: AnyRequest, error: Any) -> Response[dict[str, Any]]:
        response = handler(request, error)
        if request.url.path == MESSAGES.path:
            message = response.content["error"]["message"]
            response.content = anthropic_error(response.status_code or 500, message)
        return response

    return handle


shaped_handlers = cast(
    ExceptionHandlersMap,
    {kind: _shaped(cast(Handler, handler)) for kind, handler in exception_handlers.items()},
)
