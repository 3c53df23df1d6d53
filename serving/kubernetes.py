"""SERVE: the engines that Kubernetes has ready behind a service, from its API server.

A service's name comes in; out come the base URLs of its ready pods, read from the EndpointSlice
list with the account that every pod is given (it needs `list` on `endpointslices`, API group
discovery.k8s.io). Knows nothing of vLLM.

Source: Kubernetes API reference, EndpointSlice v1; "Accessing the Kubernetes API from a Pod".
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import msgspec

from core.errors import EngineUnavailable, SettingsError

TIMEOUT_S = 10.0
ERROR_CHARS = 300
NAME_LABEL = "kubernetes.io/service-name"  # set on every slice of a service


class _Conditions(msgspec.Struct, frozen=True):
    ready: bool | None = None  # null: to be taken as true


class _Endpoint(msgspec.Struct):
    addresses: list[str]
    conditions: _Conditions = _Conditions()


class _Port(msgspec.Struct):
    name: str | None = None
    port: int | None = None


class _Slice(msgspec.Struct, rename="camel"):
    endpoints: list[_Endpoint] | None = None
    ports: list[_Port] | None = None
    address_type: str = "IPv4"


class _SliceList(msgspec.Struct):
    items: list[_Slice]


@dataclass(frozen=True, slots=True)
class KubernetesService:
    """A service whose pods are engines; `port` is the port's name, or the pods' port number."""

    namespace: str
    name: str
    port: str

    @classmethod
    def parse(cls, text: str) -> KubernetesService:
        """Return the service that `namespace/service:port` names."""
        namespace, _, rest = text.partition("/")
        name, _, port = rest.partition(":")
        return cls(namespace, name, port)


async def read_endpoints(
    service: KubernetesService, api_url: str, account: Path
) -> tuple[str, ...]:
    """Return the base URLs of the service's ready pods, sorted.

    The token is read each time: Kubernetes replaces it every hour.

    Raises: SettingsError without an account; EngineUnavailable when the API server does not
        answer, or refuses.
    """
    url = f"{api_url}/apis/discovery.k8s.io/v1/namespaces/{service.namespace}/endpointslices"
    try:
        token = (account / "token").read_text().strip()
        trusted = ssl.create_default_context(cafile=str(account / "ca.crt"))
    except OSError as error:
        raise SettingsError(
            f"engine.kubernetes_account is {account}, which has no token or ca.crt: "
            "run in a pod with a service account, or set engine.replicas instead",
            field="engine.kubernetes_account",
        ) from error
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session,
            session.get(
                url,
                params={"labelSelector": f"{NAME_LABEL}={service.name}"},
                headers={"authorization": f"Bearer {token}"},
                ssl=trusted,
            ) as response,
        ):
            body = await response.read()
    except (aiohttp.ClientError, TimeoutError) as error:
        raise EngineUnavailable(
            f"the Kubernetes API at {api_url} does not answer: {error}"
        ) from error
    if response.status != 200:
        said = body.decode(errors="replace")[:ERROR_CHARS]
        raise EngineUnavailable(
            f"the Kubernetes API answered {response.status} for {service.namespace}/"
            f"{service.name}: {said}"
        )
    return endpoint_urls(body, service.port)


def endpoint_urls(slices: bytes, port: str) -> tuple[str, ...]:
    """Return the base URLs of the ready endpoints in an EndpointSliceList, sorted, each once.

    Raises: EngineUnavailable when it is no such list.
    """
    try:
        items = msgspec.json.decode(slices, type=_SliceList).items
    except msgspec.DecodeError as error:
        raise EngineUnavailable(f"the Kubernetes API's answer cannot be read: {error}") from error
    return tuple(sorted({url for item in items for url in _slice_urls(item, port)}))


def _slice_urls(item: _Slice, port: str) -> list[str]:
    numbers = [p.port for p in item.ports or [] if port in {p.name, str(p.port)}]
    ready = [e for e in item.endpoints or [] if e.conditions.ready is not False]
    # of an endpoint's addresses, all are the same pod: the first is the one to use
    hosts = [endpoint.addresses[0] for endpoint in ready if endpoint.addresses]
    if item.address_type == "IPv6":
        hosts = [f"[{host}]" for host in hosts]
    return [f"http://{host}:{number}" for host in hosts for number in numbers if number]
