"""SERVE: the only speaker of vLLM's HTTP interface, for answers and for adapters.

Answers pass through as raw bytes; faults become `EngineUnavailable` (nobody answered),
`EngineError` (it answered with a fault) or `RequestError` (the engine says that the client's
request is wrong). Knows nothing of applications, arms or the log. One client serves one event
loop; use it in an `async with` block.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import aiohttp
import msgspec

from core.errors import (
    AdapterRefused,
    EngineError,
    EngineUnavailable,
    NotFoundError,
    RequestError,
)
from serving.hardware import BASE_MODEL_NAME
from serving.tracing import handed_on

CONNECT_TIMEOUT_S = 5.0  # the engine is on this machine or beside it
ADMIN_TIMEOUT_S = 120.0  # loading an adapter waits for the step that runs before it
HEALTH_TIMEOUT_S = 20.0  # a CPU engine in the middle of a long prefill answers late
KEEP_ALIVE_S = 3.0  # below vLLM's own 5 s: a request never meets a connection that just closed
ERROR_CHARS = 500  # of an engine's message that are passed on

_JSON = {"content-type": "application/json"}


class ModelMissing(EngineError):
    """The engine does not have the adapter that was asked for (it restarted, say)."""


class NotConnected(EngineUnavailable):
    """No connection: the engine never saw the request and no adapter was used."""


class NotOffered(NotFoundError):
    """The engine has no such route: its model is not made for what the client wants."""


class EngineBusy(EngineUnavailable):
    """The engine answered 503: it has not taken the request, and another one may."""


class _ErrorBody(msgspec.Struct):
    message: str = ""


class _ErrorAnswer(msgspec.Struct):
    error: _ErrorBody


class _ModelCard(msgspec.Struct):
    id: str
    root: str | None = None


class _ModelList(msgspec.Struct):
    data: list[_ModelCard]


@dataclass(frozen=True, slots=True)
class EngineRequest:
    """What is posted to an engine, and how long its answer may take in all."""

    path: str
    body: bytes
    timeout_s: float = ADMIN_TIMEOUT_S


class EngineAnswer:
    """An answer that has begun with status 200. Closing it early aborts it in the engine."""

    def __init__(
        self, response: aiohttp.ClientResponse, on_close: Callable[[], None] | None = None
    ) -> None:
        self._response = response
        self._on_close = on_close

    async def read(self) -> bytes:
        """Return the whole body.

        Raises: EngineUnavailable when the engine breaks off or takes too long.
        """
        with _faults(self._response.url):
            return await self._response.read()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it comes in, without waiting to fill anything.

        Raises: EngineUnavailable when the engine breaks off or takes too long.
        """
        with _faults(self._response.url):
            async for chunk in self._response.content.iter_any():
                yield chunk

    def close(self) -> None:
        """Give the connection back, or cut it if the answer is not finished; again is no error."""
        self._response.close()
        on_close, self._on_close = self._on_close, None
        if on_close is not None:
            on_close()


class EngineClient:
    """One engine, found at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            # limit=0: the engine queues, not the gateway
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def open(
        self, request: EngineRequest, *, on_close: Callable[[], None] | None = None
    ) -> EngineAnswer:
        """Return the engine's answer to a request as soon as its head is there; close it.

        `on_close` is called once, when the answer is closed.

        Raises: NotConnected, EngineBusy, EngineUnavailable, ModelMissing, EngineError,
            RequestError.
        """
        return EngineAnswer(
            await self._post(request.path, request.body, request.timeout_s), on_close
        )

    async def is_healthy(self) -> bool:
        """Return whether the engine answers and says that it works."""
        try:
            async with self._connected().get(
                f"{self.url}/health", timeout=_timeout(HEALTH_TIMEOUT_S)
            ) as response:
                return response.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def adapters(self) -> dict[str, str | None]:
        """Return the adapters that the engine knows: name → folder.

        Raises: EngineError, EngineUnavailable.
        """
        with _faults(self.url):
            async with self._connected().get(
                f"{self.url}/v1/models", timeout=_timeout(HEALTH_TIMEOUT_S)
            ) as response:
                body = await response.read()
                if response.status != 200:
                    raise _refusal(response.status, body)
        try:
            cards = msgspec.json.decode(body, type=_ModelList).data
        except msgspec.DecodeError as error:
            raise EngineError(f"{self.url} is no vLLM: /v1/models says {error}") from error
        return {card.id: card.root for card in cards if card.id != BASE_MODEL_NAME}

    async def load(self, name: str, folder: str) -> None:
        """Make the engine know adapter `name`, whose files are in `folder`.

        Raises: AdapterRefused when the engine will never take it; EngineError,
            EngineUnavailable when it may take it later.
        """
        await self._administer("load", {"lora_name": name, "lora_path": folder})

    async def unload(self, name: str) -> None:
        """Make the engine forget adapter `name`; it is no error if it does not know it.

        Raises: EngineError, EngineUnavailable.
        """
        try:
            await self._administer("unload", {"lora_name": name})
        except AdapterRefused:  # unknown: what was wanted
            return

    async def try_adapter(self, name: str) -> None:
        """Return once `name` has produced one token.

        Raises: EngineError, EngineUnavailable, RequestError.
        """
        body = msgspec.json.encode({"model": name, "prompt": "Hello", "max_tokens": 1})
        response = await self._post("/v1/completions", body, ADMIN_TIMEOUT_S)
        with _faults(self.url):
            await response.read()

    async def _administer(self, verb: str, body: dict[str, Any]) -> None:
        path = f"/v1/{verb}_lora_adapter"
        try:
            response = await self._post(path, msgspec.json.encode(body), ADMIN_TIMEOUT_S)
        except (RequestError, ModelMissing) as error:
            raise AdapterRefused(
                f"the engine refuses to {verb} adapter {body['lora_name']}: {error}"
            ) from error
        response.release()

    async def _post(self, path: str, body: bytes, timeout_s: float) -> aiohttp.ClientResponse:
        with _faults(self.url):
            response = await self._connected().post(
                self.url + path,
                data=body,
                headers={**_JSON, **handed_on()},
                timeout=_timeout(timeout_s),
            )
            if response.status == 200:
                return response
            async with response:
                raise _refusal(response.status, await response.read())

    def _connected(self) -> aiohttp.ClientSession:
        assert self._session is not None, "EngineClient is used outside of its `async with` block"
        return self._session


def _timeout(total_s: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(total=total_s, sock_connect=CONNECT_TIMEOUT_S)


@contextmanager
def _faults(url: object) -> Generator[None]:
    """Turn aiohttp's errors into ours."""
    try:
        yield
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise NotConnected(
            f"no engine at {url}: it is starting, or stopped; see `ratchet doctor`"
        ) from error
    except TimeoutError as error:
        raise EngineUnavailable(
            f"the engine at {url} did not finish in time: "
            "ask for fewer tokens, or raise request_timeout_s of the gateway or the application"
        ) from error
    except aiohttp.ClientError as error:
        raise EngineUnavailable(
            f"the engine at {url} broke off ({type(error).__name__}): try again"
        ) from error


def _refusal(status: int, body: bytes) -> EngineError | RequestError:
    """Return the error that an answer other than 200 means.

    A 404 in vLLM's own words is a model that is not there; without them, a route that is not.
    """
    try:
        message = msgspec.json.decode(body, type=_ErrorAnswer).error.message
        told = True
    except msgspec.DecodeError:
        message = body.decode(errors="replace")
        told = False
    message = message[:ERROR_CHARS] or f"status {status} without a message"
    if status in {405, 501} or (status == 404 and not told):
        return NotOffered(
            f"the engine does not offer this, its model is not made for it ({message}): "
            "start one with another model, or use another path"
        )
    if status == 404:
        return ModelMissing(message)
    if status in {400, 413, 422}:
        return RequestError(message)
    if status == 503:
        return EngineBusy(message)
    return EngineError(f"the engine answered {status}: {message}")
