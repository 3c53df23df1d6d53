"""A Kubernetes API server that knows EndpointSlices, on HTTPS, with a service account beside it.

    async with FakeKubernetes(folder) as api: api.put("10.1.0.5"); ... api.url, api.account

Answers have the shape of the real one's (discovery.k8s.io/v1). No cluster was there to compare.
"""

from __future__ import annotations

import ipaddress
import json
import ssl
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from core.clock import utc_now

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


class FakeKubernetes:
    """What the API server answers for the service `models/vllm`, and what it was asked."""

    def __init__(self, account: Path) -> None:
        self.account = account
        self.url = ""
        self.body = slice_list()
        self.status = 200
        self.asked: list[web.Request] = []
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        write_certificate(self.account)
        (self.account / "token").write_text("a-token\n")
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.account / "ca.crt", self.account / "key.pem")
        app = web.Application()
        app.router.add_get(
            "/apis/discovery.k8s.io/v1/namespaces/models/endpointslices", self._answer
        )
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0, ssl_context=context).start()
        self.url = f"https://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    def put(self, *addresses: str, port: int = 8000) -> None:
        """Make these addresses the service's ready pods."""
        ports = [{"name": "http", "protocol": "TCP", "port": port}]
        pods = [endpoint(address) for address in addresses]
        self.body = slice_list(endpoint_slice(*pods, ports=ports))

    async def _answer(self, request: web.Request) -> web.Response:
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
