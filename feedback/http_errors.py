"""Errors as every HTTP client of Ratchet sees them: the body that the OpenAI API uses.

    {"error": {"message": …, "type": …, "param": …, "code": …}}

The gateway and its routers hand `exception_handlers` to Litestar. What Ratchet raises on
purpose keeps its message; what nobody foresaw is logged, and the client learns only that it
happened.
"""

from __future__ import annotations

import math
from typing import Any

import structlog
from litestar import Request, Response
from litestar.exceptions import HTTPException, SerializationException
from litestar.types import ExceptionHandlersMap

from core.errors import RatchetError, RateLimitError, RequestError

RETRY_AFTER_S = 1  # 503: the log may be drained, the engine may be up, a moment later

_TYPE_OF_STATUS = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
}

_log = structlog.get_logger(__name__)

AnyRequest = Request[Any, Any, Any]
ErrorResponse = Response[dict[str, Any]]


def error_response(error: RatchetError) -> ErrorResponse:
    """Return the response for `error`, with the status that core.errors names."""
    headers: dict[str, str] = {}
    if isinstance(error, RateLimitError):
        headers = error.headers | {"Retry-After": str(max(1, math.ceil(error.retry_after_s)))}
    return _response(
        error.http_status, error.code, error.message, param=error.field, headers=headers
    )


def error_body(error: RatchetError) -> dict[str, Any]:
    """Return what stands under `error` in the response for `error`."""
    return _body(error.http_status, error.code, error.message, error.field)


def _response(
    status: int,
    code: str,
    message: str,
    *,
    param: str | None = None,
    headers: dict[str, str] | None = None,
) -> ErrorResponse:
    return Response(
        {"error": _body(status, code, message, param)},
        status_code=status,
        headers={**_headers(status), **(headers or {})},
    )


def _body(status: int, code: str, message: str, param: str | None) -> dict[str, Any]:
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "message": message,
        "type": _TYPE_OF_STATUS.get(status, kind),
        "param": param,
        "code": code,
    }


def _headers(status: int) -> dict[str, str]:
    if status == 401:
        return {"WWW-Authenticate": "Bearer"}
    return {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else {}


def _handle_ratchet_error(request: AnyRequest, error: RatchetError) -> ErrorResponse:
    if error.http_status >= 500:
        _log.warning("request_failed", path=request.url.path, code=error.code, error=error.message)
    return error_response(error)


def _handle_http_exception(request: AnyRequest, error: HTTPException) -> ErrorResponse:
    if error.status_code >= 500:
        return _handle_unforeseen(request, error)
    code = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large"}
    return _response(
        error.status_code,
        code.get(error.status_code, RequestError.code),
        f"{request.method} {request.url.path}: {_explained(request, error)}",
        param=_param(error),
        headers=error.headers,
    )


def _explained(request: AnyRequest, error: HTTPException) -> str:
    if error.status_code != 413:
        return error.detail
    max_bytes = request.route_handler.resolve_request_max_body_size()
    return f"the body has more than {max_bytes:,} bytes, send a smaller one"


def _param(error: HTTPException) -> str | None:
    """Return the field that Litestar's own validation found wrong, if it says one."""
    issues = error.extra if isinstance(error.extra, list) else []
    keys = [issue.get("key") for issue in issues if isinstance(issue, dict)]
    return next((key for key in keys if isinstance(key, str)), None)


def _handle_unreadable(request: AnyRequest, error: SerializationException) -> ErrorResponse:
    return _response(400, RequestError.code, f"the body cannot be read: {error.detail}")


def _handle_unforeseen(request: AnyRequest, error: Exception) -> ErrorResponse:
    _log.error("request_crashed", path=request.url.path, exc_info=error)
    return _response(
        500,
        RatchetError.code,
        "an unexpected fault, now in the service's log: try again, or tell the operator",
    )


exception_handlers: ExceptionHandlersMap = {
    RatchetError: _handle_ratchet_error,
    HTTPException: _handle_http_exception,
    SerializationException: _handle_unreadable,
    Exception: _handle_unforeseen,
}
