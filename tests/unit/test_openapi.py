"""The OpenAPI document: whole, and true of a gateway that is asked with generated bodies."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from litestar.routes import HTTPRoute
from schemathesis.checks import CHECKS, load_all_checks

from feedback.log.group_commit import GroupCommit
from serving.gateway import create_gateway
from serving.inference import DIALECTS
from serving.openapi import openapi_document
from serving.requests import parse
from tests.unit.gateway_world import API_KEY, KEYS, World, open_world

load_all_checks()
# What is sent may be wrong for reasons that no schema can say (an unknown model, a receipt that
# nobody signed): only what comes back is checked.
KEPT = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ]
)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("gateway"), embeds=True) as opened:
        yield opened


schema = schemathesis.openapi.from_dict(openapi_document())


@schema.parametrize()  # pyright: ignore[reportUntypedFunctionDecorator]
@settings(
    max_examples=10,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_whatever_is_sent_the_answer_is_as_documented(world: World, case: Any) -> None:
    """No 500, no undocumented status, type or shape, for bodies right and wrong."""
    case.call_and_validate(
        base_url=world.url,
        headers={"authorization": f"Bearer {API_KEY}"},
        checks=KEPT,
        timeout=20,
    )


def test_the_gateway_serves_its_document(world: World) -> None:
    """As JSON, without a key."""
    answer = httpx.get(f"{world.url}/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == openapi_document()


@pytest.mark.parametrize("dialect", DIALECTS, ids=[dialect.path for dialect in DIALECTS])
def test_examples_are_valid_requests(dialect: Any) -> None:
    """Somebody who copies one gets an answer."""
    content = openapi_document()["paths"][dialect.path]["post"]["requestBody"]["content"]
    examples = content["application/json"]["examples"].values()
    assert examples
    for example in examples:
        parse(msgspec.json.encode(example["value"]), dialect.request)


def test_every_public_route_is_described(world: World) -> None:
    """What answers under /v1 and /health stands in the document, with its methods."""
    commits = GroupCommit(world.log, commit_every_ms=5.0)
    app = create_gateway(world.settings, store=world.store, commits=commits, keys=KEYS)
    asyncio.run(commits.close())
    described = openapi_document()["paths"]
    for route in app.routes:
        if isinstance(route, HTTPRoute) and route.path.startswith(("/v1", "/health")):
            methods = {method.lower() for method in route.methods} - {"options"}
            assert methods == set(described.get(route.path_format, {})), (
                f"{route.path}: describe it in serving/openapi.py"
            )
