"""Engines from Kubernetes, against a stand-in API server with answers of the real shape."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from core.errors import EngineUnavailable, SettingsError
from core.settings import EngineSettings
from serving.engine_list import EngineList
from serving.kubernetes import KubernetesService, endpoint_urls, read_endpoints
from tests.fakes.kubernetes import (
    LEAVING,
    STARTING,
    FakeKubernetes,
    endpoint,
    endpoint_slice,
    slice_list,
)

SERVICE = KubernetesService("models", "vllm", "http")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[FakeKubernetes]:
    async with FakeKubernetes(tmp_path) as opened:
        yield opened


async def test_ready_pods_are_the_engines(api: FakeKubernetes) -> None:
    """Asked with the account's token, for the slices of this service."""
    api.put("10.1.0.7", "10.1.0.5")
    found = await read_endpoints(SERVICE, api.url, api.account)
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


async def test_a_refusal_says_what_the_api_said(api: FakeKubernetes) -> None:
    """An account without the right to list: the message has the server's words."""
    api.status, api.body = 403, b'{"kind":"Status","message":"endpointslices is forbidden"}'
    with pytest.raises(EngineUnavailable, match=r"403 for models/vllm.*forbidden"):
        await read_endpoints(SERVICE, api.url, api.account)


async def test_what_is_no_list_is_told(api: FakeKubernetes) -> None:
    """A proxy's page, for instance."""
    api.body = b"<html>"
    with pytest.raises(EngineUnavailable, match="cannot be read"):
        await read_endpoints(SERVICE, api.url, api.account)


async def test_outside_of_a_pod_the_setting_is_named(tmp_path: Path) -> None:
    """There is no token, so there is no account."""
    with pytest.raises(SettingsError, match="kubernetes_account"):
        await read_endpoints(SERVICE, "https://127.0.0.1:9", tmp_path)


async def test_the_list_keeps_what_it_knew_when_the_api_fails(api: FakeKubernetes) -> None:
    """It follows the pods, and outlives a fault of the API server."""
    engines = EngineList(
        EngineSettings(
            kubernetes_service="models/vllm:http",
            kubernetes_url=api.url,
            kubernetes_account=api.account,
        )
    )
    assert (engines.changes, engines.urls) == (True, ())
    api.put("10.1.0.5")
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
