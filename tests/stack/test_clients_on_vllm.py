"""The official OpenAI and Anthropic clients against the gateway on the real vLLM.

The model has 135 million parameters: shapes, receipts and the log are looked at, not wit.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import anthropic
import openai
import pytest
from pydantic import BaseModel, ConfigDict, Field

from tests.stack.gateway_before import KEY, World, gateway_before

pytestmark = pytest.mark.stack

TURNS: Any = [{"role": "user", "content": "Say hello to the world."}]
CITY: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string", "maxLength": 8}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOL: Any = {
    "type": "function",
    "function": {"name": "get_weather", "description": "Weather", "parameters": CITY},
}


class Person(BaseModel):
    """What the structured answers must be."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(max_length=8)


@pytest.fixture(scope="module")
def world(vllm_engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with gateway_before(vllm_engine, tmp_path_factory.mktemp("clients")) as opened:
        yield opened


@pytest.fixture
def client(world: World) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{world.url}/v1", api_key=KEY, timeout=120) as opened:
        yield opened


@pytest.fixture
async def later(world: World) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{world.url}/v1", api_key=KEY, timeout=120) as opened:
        yield opened


@pytest.fixture
def claude(world: World) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=world.url, api_key=KEY, timeout=120) as opened:
        yield opened


def test_a_chat_has_choices_logprobs_and_usage(world: World, client: openai.OpenAI) -> None:
    """`n`, `logprobs` and `top_logprobs` come through; the first choice is logged."""
    answer = client.chat.completions.create(
        model="shop", messages=TURNS, max_tokens=4, n=2, logprobs=True, top_logprobs=2
    )
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        assert choice.logprobs is not None
        assert choice.logprobs.content
        assert len(choice.logprobs.content[0].top_logprobs) == 2
    assert answer.usage is not None
    event = world.event(answer)
    assert event.answer == (answer.choices[0].message.content or "")
    assert event.completion_tokens == answer.usage.completion_tokens


async def test_a_chat_streams_to_the_async_client(world: World, later: openai.AsyncOpenAI) -> None:
    """Text in pieces, then usage because it was asked for, then the receipt."""
    stream = await later.chat.completions.create(
        model="shop",
        messages=TURNS,
        max_tokens=6,
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = [chunk async for chunk in stream]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    event = world.event(chunks[-1])
    assert text
    assert event.answer == text
    usages = [chunk.usage for chunk in chunks if chunk.usage]
    assert [usage.completion_tokens for usage in usages] == [event.completion_tokens]


def test_a_tool_is_called_in_a_stream(world: World, client: openai.OpenAI) -> None:
    """A named tool is called by its name, and the call is logged."""
    chunks = list(
        client.chat.completions.create(
            model="shop",
            messages=TURNS,
            max_tokens=24,
            temperature=0,
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "get_weather"}},
            parallel_tool_calls=False,
            stream=True,
        )
    )
    calls = [
        call
        for chunk in chunks
        for choice in chunk.choices
        for call in choice.delta.tool_calls or []
        if call.function
    ]
    assert [call.function.name for call in calls if call.function and call.function.name] == [
        "get_weather"
    ]
    assert world.event(chunks[-1]).answer.startswith("get_weather")


def test_a_tools_result_may_be_sent_back(world: World, client: openai.OpenAI) -> None:
    """The second half of a tool call: the call and its result are part of the conversation."""
    call = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
    turns: Any = [
        *TURNS,
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "1", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": "1", "content": "sunny"},
    ]
    answer = client.chat.completions.create(
        model="shop", messages=turns, tools=[TOOL], tool_choice="auto", max_tokens=4
    )
    assert [turn.role for turn in world.event(answer).messages] == ["user", "assistant", "tool"]


def test_a_structured_answer_is_parsed(client: openai.OpenAI) -> None:
    """`parse` sends the type as a JSON schema, and gets an object of that type."""
    answer = client.chat.completions.parse(
        model="shop", messages=TURNS, response_format=Person, max_tokens=60, temperature=0
    )
    assert isinstance(answer.choices[0].message.parsed, Person)


def test_a_response_is_answered(world: World, client: openai.OpenAI) -> None:
    """Instructions and input go in, text and usage come out, and the receipt with them."""
    answer = client.responses.create(
        model="shop", instructions="Be brief.", input="Say hello.", max_output_tokens=6
    )
    event = world.event(answer)
    assert answer.output_text
    assert event.answer == answer.output_text
    assert [turn.role for turn in event.messages] == ["system", "user"]
    assert answer.usage is not None
    assert event.completion_tokens == answer.usage.output_tokens
    assert event.finish_reason in {"stop", "length"}


def test_a_response_streams(world: World, client: openai.OpenAI) -> None:
    """The client's own helper puts it together; the final response carries the receipt."""
    with client.responses.stream(model="shop", input="Say hello.", max_output_tokens=6) as stream:
        deltas = [event.delta for event in stream if event.type == "response.output_text.delta"]
        final = stream.get_final_response()
    event = world.event(final)
    assert "".join(deltas) == event.answer == final.output_text
    assert event.ttft_s is not None


def test_a_response_calls_a_tool(world: World, client: openai.OpenAI) -> None:
    """A required tool call comes as its own kind of event, and is logged."""
    tool: Any = {"type": "function", "name": "get_weather", "parameters": CITY, "strict": True}
    events = list(
        client.responses.create(
            model="shop",
            input="What is the weather in Paris?",
            max_output_tokens=24,
            temperature=0,
            tools=[tool],
            tool_choice="required",
            stream=True,
        )
    )
    added: Any = next(event for event in events if event.type == "response.output_item.added")
    assert added.item.name == "get_weather"
    assert world.event(events[-1]).answer.startswith("get_weather")


def test_a_structured_response_is_parsed(client: openai.OpenAI) -> None:
    """`text_format` becomes a JSON schema that the engine keeps to."""
    answer = client.responses.parse(
        model="shop", input="Name a person.", text_format=Person, max_output_tokens=60
    )
    assert isinstance(answer.output_parsed, Person)


def test_anthropics_client_is_answered(world: World, claude: anthropic.Anthropic) -> None:
    """A message with a system prompt and an end user."""
    message = claude.messages.create(
        model="shop",
        system="Be brief.",
        messages=TURNS,
        max_tokens=6,
        metadata={"user_id": "ann"},
    )
    event = world.event(message)
    assert message.content[0].type == "text"
    assert event.answer == message.content[0].text
    assert event.subject is not None
    assert event.completion_tokens == message.usage.output_tokens


def test_anthropics_client_streams(world: World, claude: anthropic.Anthropic) -> None:
    """The helper's text is the log's, and its headers carry the receipt."""
    with claude.messages.stream(model="shop", messages=TURNS, max_tokens=6) as stream:
        text = "".join(stream.text_stream)
        interaction = stream.response.headers["x-ratchet-interaction"]
    *_, last = claude.messages.create(model="shop", messages=TURNS, max_tokens=6, stream=True)
    assert text
    assert interaction
    assert last.type == "message_stop"
    assert world.event(last).finish_reason in {"stop", "length"}


def test_anthropics_client_gets_a_tool_use(world: World, claude: anthropic.Anthropic) -> None:
    """A named tool is used, as a block of its own."""
    events = list(
        claude.messages.create(
            model="shop",
            messages=TURNS,
            max_tokens=60,
            extra_body={"temperature": 0},
            tools=[{"name": "get_weather", "description": "Weather", "input_schema": CITY}],
            tool_choice={"type": "tool", "name": "get_weather"},
            stream=True,
        )
    )
    started: Any = next(event for event in events if event.type == "content_block_start")
    assert (started.content_block.type, started.content_block.name) == ("tool_use", "get_weather")
    assert world.event(events[-1]).answer.startswith("get_weather")


def test_faults_are_the_clients_own_errors(
    client: openai.OpenAI, claude: anthropic.Anthropic
) -> None:
    """Too many tokens, a schema that is none, embeddings of a model that makes none."""
    nonsense: Any = {
        "type": "json_schema",
        "json_schema": {"name": "n", "schema": {"type": "nonsense"}},
    }
    with pytest.raises(openai.BadRequestError, match="100000"):
        client.chat.completions.create(model="shop", messages=TURNS, max_tokens=100_000)
    with pytest.raises(openai.BadRequestError, match="nonsense"):
        client.chat.completions.create(model="shop", messages=TURNS, response_format=nonsense)
    with pytest.raises(openai.NotFoundError, match="does not offer"):
        client.embeddings.create(model="shop", input="Hi")
    with pytest.raises(anthropic.BadRequestError, match="100000"):
        claude.messages.create(model="shop", messages=TURNS, max_tokens=100_000)


def test_a_client_that_leaves_is_logged(world: World, client: openai.OpenAI) -> None:
    """What was sent of a long answer is in the log, as disconnected."""
    raw = client.completions.with_streaming_response.create(
        model="shop", prompt="Once upon a time", max_tokens=900, stream=True
    )
    with raw as answer:
        interaction = answer.headers["x-ratchet-interaction"]
        lines = answer.iter_lines()
        first = json.loads(next(lines).removeprefix("data: "))
    event = world.find(interaction)
    assert event.status == "disconnected"
    assert event.answer.startswith(first["choices"][0]["text"])
