"""Errors over HTTP: one shape for all of them, and no stack trace for anyone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import pytest
from litestar import Litestar, Request, get, post
from litestar.exceptions import HTTPException, ServiceUnavailableException
from litestar.params import Parameter
from litestar.testing import TestClient
from structlog.testing import capture_logs

from core import errors
from feedback.http_errors import exception_handlers

RAISED: list[Exception] = []


@get("/raise")
async def raise_it() -> None:
    """Raise what the test put in RAISED."""
    raise RAISED.pop()


@get("/number")
async def number(n: Annotated[int, Parameter(ge=1)]) -> int:
    """Take a number that Litestar itself validates."""
    return n


@post("/json", request_max_body_size=100)
async def json(request: Request[Any, Any, Any]) -> Any:
    """Read a body."""
    return await request.json()


@pytest.fixture(scope="module")
def client() -> Iterator[TestClient[Litestar]]:
    """An application with the handlers under test."""
    app = Litestar([raise_it, number, json], exception_handlers=exception_handlers)
    with TestClient(app) as client:
        yield client


def error_of(client: TestClient[Litestar], raised: Exception) -> tuple[int, dict[str, Any]]:
    """Return status and error that a client gets when a handler raises."""
    RAISED.append(raised)
    response = client.get("/raise")
    body = response.json()
    assert list(body) == ["error"]
    assert list(body["error"]) == ["message", "type", "param", "code"]
    return response.status_code, body["error"]


@pytest.mark.parametrize(
    ("raised", "status", "kind", "code"),
    [
        (errors.RequestError("m"), 400, "invalid_request_error", "invalid_request"),
        (errors.AuthenticationError("m"), 401, "authentication_error", "unauthenticated"),
        (errors.PermissionDeniedError("m"), 403, "permission_error", "forbidden"),
        (errors.NotFoundError("m"), 404, "invalid_request_error", "not_found"),
        (errors.StateError("m"), 409, "invalid_request_error", "state_invalid"),
        (errors.DataError("m"), 422, "invalid_request_error", "data_invalid"),
        (errors.EngineError("m"), 502, "server_error", "engine_error"),
        (errors.LogFullError("m"), 503, "server_error", "log_full"),
    ],
)
def test_ratchets_own_errors_keep_their_message_and_status(
    client: TestClient[Litestar], raised: errors.RatchetError, status: int, kind: str, code: str
) -> None:
    """The table in core.errors decides, for subclasses too."""
    found = error_of(client, raised)
    assert found == (status, {"message": "m", "type": kind, "param": None, "code": code})


def test_the_field_is_named(client: TestClient[Litestar]) -> None:
    """`param` is where the OpenAI client looks for it."""
    assert error_of(client, errors.RequestError("m", field="kind"))[1]["param"] == "kind"


def test_an_unforeseen_error_tells_the_client_nothing_and_the_log_everything(
    client: TestClient[Litestar],
) -> None:
    """Neither the message nor a stack trace leaves the service."""
    with capture_logs() as logs:
        status, error = error_of(client, KeyError("secret thing"))
    assert (status, error["code"], error["type"]) == (500, "internal_error", "server_error")
    assert "secret" not in str(error)
    assert "Traceback" not in str(error)
    [event] = logs
    assert (event["event"], event["path"]) == ("request_crashed", "/raise")
    assert isinstance(event["exc_info"], KeyError)


def test_a_fault_of_the_framework_is_unforeseen_too(client: TestClient[Litestar]) -> None:
    """Litestar's 5xx details are as private as ours."""
    with capture_logs() as logs:
        status, error = error_of(client, ServiceUnavailableException("secret thing"))
    assert (status, error["code"]) == (500, "internal_error")
    assert "secret" not in str(error)
    assert len(logs) == 1


def test_failures_of_the_service_are_logged_and_mistakes_of_clients_are_not(
    client: TestClient[Litestar],
) -> None:
    """A full log is the operator's business, a bad request is not."""
    with capture_logs() as logs:
        error_of(client, errors.LogFullError("full"))
        error_of(client, errors.RequestError("bad"))
    assert [(event["event"], event["code"]) for event in logs] == [("request_failed", "log_full")]


def test_a_client_is_told_how_to_authenticate_and_when_to_retry(
    client: TestClient[Litestar],
) -> None:
    """401 and 503 carry the headers that clients act on."""
    RAISED.append(errors.AuthenticationError("m"))
    assert client.get("/raise").headers["www-authenticate"] == "Bearer"
    RAISED.append(errors.LogFullError("m"))
    assert client.get("/raise").headers["retry-after"] == "1"


def test_headers_of_the_frameworks_errors_are_kept(client: TestClient[Litestar]) -> None:
    """What Litestar or a guard adds reaches the client."""
    RAISED.append(HTTPException("slow down", status_code=429, headers={"Retry-After": "7"}))
    response = client.get("/raise")
    assert response.headers["retry-after"] == "7"
    assert response.json()["error"]["type"] == "rate_limit_error"


@pytest.mark.parametrize(
    ("method", "path", "status", "code", "param"),
    [
        ("GET", "/nowhere", 404, "not_found", None),
        ("DELETE", "/raise", 405, "method_not_allowed", None),
        ("GET", "/number?n=0", 400, "invalid_request", "n"),
        ("GET", "/number", 400, "invalid_request", None),  # Litestar names it only in words
    ],
)
def test_the_frameworks_errors_have_the_same_shape(
    client: TestClient[Litestar], method: str, path: str, status: int, code: str, param: str | None
) -> None:
    """Unknown paths, wrong methods and wrong parameters look like every other error."""
    response = client.request(method, path)
    error = response.json()["error"]
    assert (response.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["message"].startswith(f"{method} {path.split('?')[0]}: ")


def test_a_body_that_cannot_be_read_is_the_clients_mistake(client: TestClient[Litestar]) -> None:
    """Broken JSON gets 400, a body over the limit 413 with the limit."""
    response = client.post("/json", content=b"{")
    assert (response.status_code, response.json()["error"]["code"]) == (400, "invalid_request")
    response = client.post("/json", content=b" " * 101)
    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
    assert "100 bytes" in response.json()["error"]["message"]
