"""Who listens on the ports of engine and gateway: nobody, ours, or another program.

For `ratchet doctor`. One short GET each; starts nothing, and asks no proxy.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

import msgspec

from core.settings import Settings
from loop.check import Check
from serving.hardware import BASE_MODEL_NAME

ANSWER_TIMEOUT_S = 5.0  # a CPU engine in the middle of a prefill answers late


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    """What the engine says on /v1/models."""

    data: list[_Model]


class _Readiness(msgspec.Struct):
    """What the gateway says on /health/ready."""

    routes: bool
    engine: bool


@dataclass(frozen=True)
class _Service:
    name: str
    host: str
    port: int
    path: str  # asked without a key
    recognise: Callable[[bytes], tuple[bool | None, str] | None]  # None: not ours

    @property
    def where(self) -> str:
        return f"{self.host}:{self.port}"

    def check(self, ok: bool | None, detail: str, mend: str | None = None) -> Check:
        elsewhere = (
            f"stop what listens there, or set {self.name}.port "
            f"(RATCHET_{self.name.upper()}__PORT) to a free one"
        )
        return Check(self.name, ok, detail, elsewhere if mend is None else mend)


def engine_check(settings: Settings) -> Check:
    """Return whether the engine answers, or could be started on its port.

    Of engines that others run: whether all in the settings answer.
    """
    engine = settings.engine
    if engine.kubernetes_service:
        return Check("engine", None, f"by Kubernetes: {engine.kubernetes_service}", "")
    if engine.replicas:
        return _check_replicas(engine.replicas)
    return _look(_Service("engine", engine.host, engine.port, "/v1/models", _recognise_engine))


def gateway_check(settings: Settings) -> Check:
    """Return whether the gateway answers, or could be started on its port."""
    gateway = settings.gateway
    service = _Service("gateway", gateway.host, gateway.port, "/health/ready", _recognise_gateway)
    return _look(service)


def _check_replicas(urls: Sequence[str]) -> Check:
    silent = [url for url in urls if not _is_engine(url)]
    answering = f"{len(urls) - len(silent)} of {len(urls)} replicas answer"
    if not silent:
        return Check("engine", True, answering, "")
    mend = "start them, or take them out of engine.replicas"
    return Check("engine", False, f"{answering}; not {', '.join(silent)}", mend)


def _is_engine(url: str) -> bool:
    place = urlsplit(url)
    kind = http.client.HTTPSConnection if place.scheme == "https" else http.client.HTTPConnection
    connection = kind(place.netloc, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", f"{place.path}/v1/models")
        return _recognise_engine(connection.getresponse().read()) is not None
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _recognise_engine(body: bytes) -> tuple[bool | None, str] | None:
    try:
        names = [model.id for model in msgspec.json.decode(body, type=_Models).data]
    except msgspec.DecodeError:
        return None
    if BASE_MODEL_NAME not in names:
        return None
    return True, f"{len(names) - 1} adapters loaded"


def _recognise_gateway(body: bytes) -> tuple[bool | None, str] | None:
    try:
        ready = msgspec.json.decode(body, type=_Readiness)
    except msgspec.DecodeError:
        return None
    if ready.routes and ready.engine:
        return True, "ready"
    return None, "waits for the engine" if ready.routes else "cannot read the store"


def _look(service: _Service) -> Check:
    try:
        body = _get(service)
    except ConnectionRefusedError:
        return _free_port(service)
    except TimeoutError:
        return service.check(None, f"{service.where} is taken but silent: starting, or not ours")
    except (OSError, http.client.HTTPException) as error:
        return service.check(False, f"{service.where} does not speak HTTP: {error}")
    recognised = service.recognise(body)
    if recognised is None:
        return service.check(False, f"{service.where} is taken by another program")
    ok, state = recognised
    return service.check(ok, f"answers on {service.where}: {state}", "its log says more")


def _free_port(service: _Service) -> Check:
    """Return whether this user may listen on a port where nobody does."""
    try:
        with socket.create_server((service.host, service.port)):
            free = f"not running; {service.where} is free"
            return service.check(None, free, "`ratchet up` starts it")
    except OSError as error:
        return service.check(False, f"cannot listen on {service.where}: {error.strerror}")


def _get(service: _Service) -> bytes:
    # http.client and no library above it: those would ask a proxy for our own loopback
    connection = http.client.HTTPConnection(service.host, service.port, timeout=ANSWER_TIMEOUT_S)
    try:
        connection.request("GET", service.path)
        return connection.getresponse().read()
    finally:
        connection.close()
