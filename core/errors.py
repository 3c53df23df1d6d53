"""The one error tree of Ratchet.

    RatchetError                 code                 HTTP
    ├── SettingsError            settings_invalid      500
    ├── RequestError             invalid_request       400
    │   ├── NotFoundError        not_found             404
    │   ├── RequestTimeout       request_timeout       408
    │   ├── BodyTooLargeError    body_too_large        413
    │   └── ConflictError        conflict              409
    ├── AuthenticationError      unauthenticated       401
    ├── PermissionDeniedError    forbidden             403
    ├── RateLimitError           rate_limit_exceeded   429
    ├── EngineError              engine_error          502
    │   ├── EngineUnavailable    engine_unavailable    503
    │   └── AdapterRefused       adapter_refused       409
    ├── LogFullError             log_full              503
    ├── LogUnavailableError      log_unavailable       503
    ├── StoreUnavailableError    store_unavailable     503
    ├── DataError                data_invalid          422
    ├── TrainingError            training_failed       500
    ├── GateError                gate_not_passed       409
    └── StateError               state_invalid         409

Every message names the bad value and says how to mend it. Errors are caught only at the
HTTP, consumer, job and command-line edges; `code` and `http_status` are the one table that
maps them outwards.
"""

from __future__ import annotations

from typing import ClassVar


class RatchetError(Exception):
    """Root of all errors that Ratchet raises on purpose; `str(error)` may be shown to a client."""

    code: ClassVar[str] = "internal_error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class SettingsError(RatchetError):
    """A setting is missing or wrong."""

    code = "settings_invalid"


class RequestError(RatchetError):
    """A request that the client must change before it can succeed."""

    code = "invalid_request"
    http_status = 400


class NotFoundError(RequestError):
    """The named thing does not exist."""

    code = "not_found"
    http_status = 404


class RequestTimeout(RequestError):
    """The client did not finish its request in time."""

    code = "request_timeout"
    http_status = 408


class BodyTooLargeError(RequestError):
    """The request has more bytes than its application may send."""

    code = "body_too_large"
    http_status = 413


class ConflictError(RequestError):
    """The request contradicts what is already stored."""

    code = "conflict"
    http_status = 409


class AuthenticationError(RatchetError):
    """No valid API key or receipt."""

    code = "unauthenticated"
    http_status = 401


class PermissionDeniedError(RatchetError):
    """Known caller, forbidden act."""

    code = "forbidden"
    http_status = 403


class RateLimitError(RatchetError):
    """A key has used up what it may use for now; `retry_after_s` until it may again."""

    code = "rate_limit_exceeded"
    http_status = 429

    def __init__(
        self, message: str, *, retry_after_s: float, headers: dict[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s
        self.headers = headers or {}


class EngineError(RatchetError):
    """The engine answered with a fault."""

    code = "engine_error"
    http_status = 502


class EngineUnavailable(EngineError):
    """The engine does not answer."""

    code = "engine_unavailable"
    http_status = 503


class AdapterRefused(EngineError):
    """The engine cannot serve this adapter, now or ever."""

    code = "adapter_refused"
    http_status = 409


class LogFullError(RatchetError):
    """The local spool has reached its limit."""

    code = "log_full"
    http_status = 503


class LogUnavailableError(RatchetError):
    """The cluster that holds the event log does not answer."""

    code = "log_unavailable"
    http_status = 503


class StoreUnavailableError(RatchetError):
    """The database does not answer."""

    code = "store_unavailable"
    http_status = 503


class DataError(RatchetError):
    """Data that a stage cannot use."""

    code = "data_invalid"
    http_status = 422


class TrainingError(RatchetError):
    """A run that could not start or finish."""

    code = "training_failed"


class GateError(RatchetError):
    """An adapter that has not passed the gate asked for traffic."""

    code = "gate_not_passed"
    http_status = 409


class StateError(RatchetError):
    """A command that the present state does not allow."""

    code = "state_invalid"
    http_status = 409
