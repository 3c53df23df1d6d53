"""Embeddings of a real engine through the gateway: vLLM makes vectors of the model's states.

An engine that pools serves no answers, so this one is started beside the session's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import openai
import pytest

from tests.conftest import running_engine
from tests.stack.gateway_before import KEY, World, gateway_before

pytestmark = pytest.mark.stack

POOLING = ("--runner", "pooling", "--convert", "embed")
TEXTS = [
    "I want my money back for this order.",
    "Please refund what I paid for it.",
    "The weather in the mountains was cold and bright.",
]


@pytest.fixture(scope="module")
def engine(base_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_engine(base_model, tmp_path_factory.mktemp("pooling"), POOLING) as url:
        yield url


@pytest.fixture(scope="module")
def world(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with gateway_before(engine, tmp_path_factory.mktemp("embeddings")) as opened:
        yield opened


def test_vectors_of_the_engine_come_through_unchanged(world: World, engine: str) -> None:
    """They are those that the engine gives directly; like texts are near; the call is logged."""
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key=KEY, timeout=120) as client:
        made = client.embeddings.create(model="shop", input=TEXTS, user="ann")
    with openai.OpenAI(base_url=f"{engine}/v1", api_key="none", timeout=120) as client:
        direct = client.embeddings.create(model="base", input=TEXTS)
    vectors_N_C = np.array([item.embedding for item in made.data])
    assert vectors_N_C == pytest.approx(np.array([item.embedding for item in direct.data]))
    like_N_N = vectors_N_C @ vectors_N_C.T
    assert like_N_N[0, 1] > like_N_N[0, 2]
    event = world.event(made)
    assert (event.status, event.endpoint, event.answer) == ("ok", "/v1/embeddings", "")
    assert event.prompt_tokens == made.usage.prompt_tokens > 0


def test_an_engine_that_pools_answers_no_chat(world: World) -> None:
    """The engine's refusal comes in OpenAI's shape."""
    with (
        openai.OpenAI(base_url=f"{world.url}/v1", api_key=KEY, max_retries=0) as client,
        pytest.raises(openai.APIStatusError) as refused,
    ):
        client.chat.completions.create(model="shop", messages=[{"role": "user", "content": "Hi"}])
    assert 400 <= refused.value.status_code < 500
