"""Engines from Kubernetes, against a stand-in API server with answers of the real shape."""

from __future__ import annotations

import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.clock import utc_now
from core.errors import EngineUnavailable, SettingsError
from core.settings import EngineSettings
from serving.engine_list import EngineList
from serving.kubernetes import KubernetesService, endpoint_urls, read_endpoints

SERVICE = KubernetesService("models", "vllm", "http")
READY = {"ready": True, "serving": True, "terminating": False}
STARTING = {"ready": False, "serving": False, "terminating": False}
LEAVING = {"ready": False, "serving": True, "terminating": True}


def endpoint_slice(*endpoints: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Return a slice as the API server writes it."""
    return {
        "metadata": {
            "name": "vllm-x7k2p",
            "namespace": "models",
            "labels": {"kubernetes.io/service-name": "vllm"},
        },
        "addressType": "IPv4",
        "endpoints": list(endpoints),
        "ports": [
            {"name": "http", "protocol": "TCP", "port": 8000},
            {"name": "metrics", "protocol": "TCP", "port": 9000},
        ],
        **changes,
    }


def endpoint(address: str, conditions: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return an endpoint as the API server writes it."""
    return {
        "addresses": [address],
        "conditions": READY if conditions is None else conditions,
        "nodeName": "node-1",
        "targetRef": {"kind": "Pod", "namespace": "models", "name": "vllm-0"},
    }


def slice_list(*slices: dict[str, Any]) -> bytes:
    """Return the answer to a list request."""
    kind = {"kind": "EndpointSliceList", "apiVersion": "discovery.k8s.io/v1"}
    return json.dumps({**kind, "metadata": {"resourceVersion": "1"}, "items": slices}).encode()


@dataclass
class ApiServer:
    """What the stand-in answers, and what it was asked."""

    folder: Path
    url: str = ""
    body: bytes = b""
    status: int = 200
    asked: list[web.Request] = field(default_factory=list[web.Request])

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(request)
        return web.Response(body=self.body, status=self.status, content_type="application/json")


def write_certificate(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that vouches for itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "kubernetes")])
    address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
    now = utc_now()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([address]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.crt").write_bytes(certificate.public_bytes(pem))
    private = serialization.PrivateFormat.PKCS8
    (folder / "key.pem").write_bytes(key.private_bytes(pem, private, serialization.NoEncryption()))


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[ApiServer]:
    """A server of its own authority on HTTPS, with a service account beside it."""
    write_certificate(tmp_path)
    (tmp_path / "token").write_text("a-token\n")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "ca.crt", tmp_path / "key.pem")
    server = ApiServer(tmp_path)
    app = web.Application()
    app.router.add_get("/apis/discovery.k8s.io/v1/namespaces/models/endpointslices", server.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    server.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield server
    await runner.cleanup()


async def test_ready_pods_are_the_engines(api: ApiServer) -> None:
    """Asked with the account's token, for the slices of this service."""
    api.body = slice_list(endpoint_slice(endpoint("10.1.0.7"), endpoint("10.1.0.5")))
    found = await read_endpoints(SERVICE, api.url, api.folder)
    assert found == ("http://10.1.0.5:8000", "http://10.1.0.7:8000")
    (request,) = api.asked
    assert request.headers["authorization"] == "Bearer a-token"
    assert request.query["labelSelector"] == "kubernetes.io/service-name=vllm"


@pytest.mark.parametrize(
    ("slices", "port", "urls"),
    [
        ((endpoint_slice(endpoint("10.1.0.5", STARTING)),), "http", ()),
        ((endpoint_slice(endpoint("10.1.0.5", LEAVING)),), "http", ()),
        ((endpoint_slice(endpoint("10.1.0.5", {})),), "http", ("http://10.1.0.5:8000",)),
        ((endpoint_slice(endpoint("10.1.0.5")),), "9000", ("http://10.1.0.5:9000",)),
        ((endpoint_slice(endpoint("10.1.0.5")),), "grpc", ()),
        (
            (endpoint_slice(endpoint("fd00::5"), addressType="IPv6"),),
            "http",
            ("http://[fd00::5]:8000",),
        ),
        (
            (endpoint_slice(endpoint("10.1.0.5")), endpoint_slice(endpoint("10.1.0.5"))),
            "http",
            ("http://10.1.0.5:8000",),
        ),
        ((endpoint_slice(endpoints=None, ports=None),), "http", ()),
        ((), "http", ()),
    ],
    ids=[
        "starting",
        "terminating",
        "no conditions: ready",
        "port by number",
        "no such port",
        "IPv6",
        "in two slices",
        "empty slice",
        "no slice",
    ],
)
def test_endpoints_by_their_conditions(
    slices: tuple[dict[str, Any], ...], port: str, urls: tuple[str, ...]
) -> None:
    """Only ready endpoints, each once, with the port that was asked for."""
    assert endpoint_urls(slice_list(*slices), port) == urls


async def test_a_refusal_says_what_the_api_said(api: ApiServer) -> None:
    """An account without the right to list: the message has the server's words."""
    api.status, api.body = 403, b'{"kind":"Status","message":"endpointslices is forbidden"}'
    with pytest.raises(EngineUnavailable, match=r"403 for models/vllm.*forbidden"):
        await read_endpoints(SERVICE, api.url, api.folder)


async def test_what_is_no_list_is_told(api: ApiServer) -> None:
    """A proxy's page, for instance."""
    api.body = b"<html>"
    with pytest.raises(EngineUnavailable, match="cannot be read"):
        await read_endpoints(SERVICE, api.url, api.folder)


async def test_outside_of_a_pod_the_setting_is_named(tmp_path: Path) -> None:
    """There is no token, so there is no account."""
    with pytest.raises(SettingsError, match="kubernetes_account"):
        await read_endpoints(SERVICE, "https://127.0.0.1:9", tmp_path)


async def test_the_list_keeps_what_it_knew_when_the_api_fails(api: ApiServer) -> None:
    """It follows the pods, and outlives a fault of the API server."""
    engines = EngineList(
        EngineSettings(
            kubernetes_service="models/vllm:http",
            kubernetes_url=api.url,
            kubernetes_account=api.folder,
        )
    )
    assert (engines.changes, engines.urls) == (True, ())
    api.body = slice_list(endpoint_slice(endpoint("10.1.0.5")))
    await engines.refresh()
    assert engines.urls == ("http://10.1.0.5:8000",)
    api.status = 500
    await engines.refresh()
    assert engines.urls == ("http://10.1.0.5:8000",)


async def test_the_settings_own_list_never_changes() -> None:
    """Replicas in the settings, or the one engine that is started here."""
    two = EngineList(EngineSettings(replicas=("http://a:1/", "http://b:1")))
    one = EngineList(EngineSettings(port=8123))
    await two.refresh()
    assert (two.changes, two.urls) == (False, ("http://a:1", "http://b:1"))
    assert (one.changes, one.urls) == (False, ("http://127.0.0.1:8123",))
