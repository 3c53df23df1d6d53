"""The gateway's other dialects over a fake engine, asked with their official clients."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import httpx
import openai
import pytest

from core.clock import utc_now
from core.ids import subject_hash
from feedback.receipts import verify
from serving.inference import DIALECTS
from tests.unit.gateway_world import API_KEY, CANARY, KEYS, World, open_world

QUESTION = "Where is my parcel? Write to ann@example.org"
ANSWER = f"base answers: {QUESTION}"
TURNS: Any = [{"role": "user", "content": QUESTION}]

BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": TURNS},
    "/v1/completions": {"prompt": QUESTION},
    "/v1/responses": {"input": QUESTION},
    "/v1/messages": {"messages": TURNS, "max_tokens": 50},
    "/v1/embeddings": {"input": QUESTION},
}
STREAMED = [path for path in BODIES if path != "/v1/embeddings"]
LAST_EVENT = {
    "/v1/chat/completions": "data: [DONE]\n\n",
    "/v1/completions": "data: [DONE]\n\n",
    "/v1/responses": "event: response.completed\n",
    "/v1/messages": "event: message_stop\n",
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with open_world(tmp_path_factory.mktemp("gateway")) as world:
        yield world


@pytest.fixture
def world(opened: World) -> World:
    """Give the gateway of this module, with nothing asked yet."""
    opened.forget()
    return opened


@pytest.fixture
def claude(world: World) -> Iterator[anthropic.Anthropic]:
    """Give Anthropic's client, which sends its key as `x-api-key`."""
    with anthropic.Anthropic(
        base_url=world.url, api_key=API_KEY, max_retries=0, timeout=20
    ) as client:
        yield client


def body(path: str, **fields: Any) -> dict[str, Any]:
    return {"model": "shop"} | BODIES[path] | fields


def datas(text: str) -> list[dict[str, Any]]:
    """Return the data of a stream's events, as a client without a library sees them."""
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


def test_every_dialect_is_tested() -> None:
    """A new dialect needs a body here."""
    assert {dialect.path for dialect in DIALECTS} == set(BODIES)


@pytest.mark.parametrize("path", STREAMED)
def test_an_answer_carries_its_receipt_and_is_logged(world: World, path: str) -> None:
    """Ids in headers and body; the log has question, answer and counts, redacted."""
    answer = world.post(path, body(path))
    assert answer.status_code == 200, answer.text
    stamp = answer.json()["ratchet"]
    assert stamp["receipt"] == answer.headers["x-ratchet-receipt"]
    (event,) = world.events()
    assert event.interaction_id == stamp["interaction"] == answer.headers["x-ratchet-interaction"]
    assert verify(stamp["receipt"], KEYS.receipt, utc_now()).interaction_id == event.interaction_id
    assert (event.endpoint, event.status, event.finish_reason) == (path, "ok", "stop")
    assert event.answer.startswith("base answers: Where is my parcel?")
    assert event.messages[-1].content.startswith("Where is my parcel?")
    assert "ann@example.org" not in event.messages[-1].content + event.answer
    assert (event.prompt_tokens, event.completion_tokens) == (7, 9)


@pytest.mark.parametrize("path", STREAMED)
def test_a_stream_carries_its_receipt_at_its_end(world: World, path: str) -> None:
    """The last event has `ratchet`, and all the engine's events before it are unchanged."""
    answer = world.post(path, body(path, stream=True))
    direct = httpx.post(
        f"{world.engine.url}{path}", json=body(path, stream=True, model="base"), timeout=20
    )
    whole, _, end = answer.text.rpartition(LAST_EVENT[path].partition("\n")[0])
    if path in {"/v1/responses", "/v1/messages"}:
        assert direct.text.startswith(whole)
    assert end
    (event,) = world.events()
    assert datas(answer.text)[-1]["ratchet"]["interaction"] == event.interaction_id
    assert (event.status, event.finish_reason, event.stream) == ("ok", "stop", True)
    assert event.answer.startswith("base answers: Where is my parcel?")
    assert (event.prompt_tokens, event.completion_tokens) == (7, 9)
    assert event.ttft_s is not None
    assert 0 < event.ttft_s <= event.latency_s


@pytest.mark.parametrize("path", STREAMED)
@pytest.mark.parametrize("stream", [False, True])
def test_a_cut_answer_is_logged_as_cut(world: World, path: str, stream: bool) -> None:
    """Whatever the dialect calls it, curation learns that the answer is not whole."""
    limit = "max_output_tokens" if path == "/v1/responses" else "max_tokens"
    world.post(path, body(path, stream=stream) | {limit: 2})
    (event,) = world.events()
    assert (event.finish_reason, event.answer) == ("length", "base answers:")


@pytest.mark.parametrize("path", STREAMED)
def test_a_fault_inside_a_stream_ends_it_with_an_error(world: World, path: str) -> None:
    """An error event in the dialect's shape, with the receipt; what was said is logged."""
    world.engine.stream_fault = "out of memory"
    answer = world.post(path, body(path, stream=True))
    last = datas(answer.text)[-1]
    assert "out of memory" in last["error"]["message"]
    assert last["ratchet"]["receipt"] == answer.headers["x-ratchet-receipt"]
    if path in {"/v1/responses", "/v1/messages"}:
        assert last["type"] == "error"
        assert "\n\nevent: error\n" in answer.text
    (event,) = world.events()
    assert event.status == "error"
    assert event.answer.startswith("base answers: Where is my parcel?")
    assert "out of memory" in (event.error or "")


@pytest.mark.parametrize("path", STREAMED)
def test_an_engine_that_dies_in_mid_stream_ends_it_with_an_error(world: World, path: str) -> None:
    """The connection to the engine is cut: an error event, no end, and the part is logged."""
    world.engine.broken_after = 3
    answer = world.post(path, body(path, stream=True))
    assert LAST_EVENT[path] not in answer.text
    assert "error" in datas(answer.text)[-1]
    (event,) = world.events()
    assert (event.status, event.answer) == ("error", "base answers: Where")


@pytest.mark.parametrize("path", STREAMED)
@pytest.mark.parametrize("cut_bytes", [7, 60])
def test_a_stream_in_small_pieces_is_the_same(world: World, path: str, cut_bytes: int) -> None:
    """Bytes that go on before their event is whole make up the same stream."""
    world.engine.cut_bytes = cut_bytes
    cut = world.post(path, body(path, stream=True))
    world.engine.cut_bytes = None
    whole = world.post(path, body(path, stream=True))
    assert datas(cut.text)[:-1] == datas(whole.text)[:-1]
    first, second = world.events()
    assert (first.status, first.answer) == (second.status, second.answer)


@pytest.mark.parametrize("path", STREAMED)
def test_first_bytes_go_on_before_the_event_is_whole(world: World, path: str) -> None:
    """The engine's text of 20,000 bytes is on its way while the engine still writes the event."""
    world.engine.reply = lambda _model, _prompt: "x" * 20_000
    world.engine.cut_bytes, world.engine.cut_pause_s = 4_000, 0.1
    headers = {"authorization": f"Bearer {API_KEY}"}
    with httpx.stream(
        "POST", f"{world.url}{path}", json=body(path, stream=True), headers=headers, timeout=20
    ) as answer:
        pieces = [piece for piece in answer.iter_raw() if b"xxx" in piece]
    assert len(pieces[0]) < 20_000


@pytest.mark.parametrize("path", STREAMED)
def test_a_client_that_leaves_aborts_every_dialect(world: World, path: str) -> None:
    """The engine stops, and the log has what was sent and why it ended."""
    world.engine.word_pause_s = 0.2
    headers = {"authorization": f"Bearer {API_KEY}"}
    with httpx.stream(
        "POST", f"{world.url}{path}", json=body(path, stream=True), headers=headers, timeout=20
    ) as answer:
        seen = b""
        for piece in answer.iter_raw():
            seen += piece
            if b"answers" in seen:
                break
    event = world.wait_for_event()
    assert event.status == "disconnected"
    assert event.answer.startswith("base answers:")
    world.engine.wait_until(lambda: world.engine.aborted == 1)


@pytest.mark.parametrize("path", BODIES)
def test_an_unknown_field_is_refused_by_name(world: World, path: str) -> None:
    """The allow-list holds in each dialect; the message names the field."""
    answer = world.post(path, body(path, lora_request={"name": "x"}))
    assert answer.status_code == 400
    assert "lora_request" in answer.json()["error"]["message"]
    assert not world.engine.bodies


@pytest.mark.parametrize(
    ("path", "change", "field"),
    [
        ("/v1/responses", {"previous_response_id": "resp_1"}, "previous_response_id"),
        ("/v1/responses", {"store": True}, "store"),
        ("/v1/responses", {"background": True}, "background"),
        ("/v1/responses", {"conversation": "conv_1"}, "conversation"),
        ("/v1/responses", {"tools": [{"type": "web_search", "name": "x"}]}, "tools[0].type"),
        ("/v1/responses", {"input": [{"type": "item_reference", "id": "1"}]}, "input[0].type"),
        (
            "/v1/responses",
            {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
            "input[0].content[0].type",
        ),
        ("/v1/chat/completions", {"store": True}, "store"),
        ("/v1/chat/completions", {"modalities": ["audio"]}, "modalities[0]"),
        ("/v1/chat/completions", {"service_tier": "flex"}, "service_tier"),
        ("/v1/embeddings", {"input": [1, 2]}, "input[0]"),
        ("/v1/embeddings", {"input": []}, "input"),
    ],
)
def test_what_cannot_be_honoured_is_refused(
    world: World, path: str, change: dict[str, Any], field: str
) -> None:
    """State, stored answers, other people's tools and pictures: 400, and which field it is."""
    answer = world.post(path, body(path, **change))
    assert answer.status_code == 400, answer.text
    assert answer.json()["error"]["param"] == field


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"max_tokens": "many"}, "max_tokens"),
        ({"messages": [{"role": "wizard", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": 7}]}]}, "messages[0].content"),
        ({"system": [{"type": "image"}]}, "system[0].type"),
        ({"tools": [{"type": "web_search_20250305", "name": "x", "input_schema": {}}]}, "tools[0]"),
    ],
)
def test_anthropics_clients_get_errors_in_their_shape(
    world: World, change: dict[str, Any], told: str
) -> None:
    """`{"type": "error", "error": {"type", "message"}}`, and the field in the message."""
    answer = world.post("/v1/messages", body("/v1/messages", **change))
    assert answer.status_code == 400
    assert answer.json()["type"] == "error"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert told in answer.json()["error"]["message"]


def test_anthropics_client_is_answered(world: World, claude: anthropic.Anthropic) -> None:
    """`x-api-key` is the key, `metadata.user_id` the end user; the engine hears of neither."""
    message = claude.messages.create(
        model="shop",
        max_tokens=50,
        system="Be kind.",
        messages=TURNS,
        metadata={"user_id": "ann"},
        extra_body={"temperature": 0.5},
    )
    assert message.content[0].type == "text"
    assert message.content[0].text == ANSWER
    assert message.stop_reason == "end_turn"
    (event,) = world.events()
    assert (message.model_extra or {})["ratchet"]["interaction"] == event.interaction_id
    assert event.subject == subject_hash(KEYS.subject, "shop", "ann")
    assert [turn.role for turn in event.messages] == ["system", "user"]
    assert event.parameters == {"max_tokens": 50, "temperature": 0.5}
    assert "metadata" not in world.engine.bodies[0]


def test_anthropics_client_streams(world: World, claude: anthropic.Anthropic) -> None:
    """Its helper puts the text together, beside the headers; the last event has the receipt."""
    with claude.messages.stream(model="shop", max_tokens=50, messages=TURNS) as stream:
        text, headers = stream.get_final_text(), stream.response.headers
    *_, last = claude.messages.create(model="shop", max_tokens=50, messages=TURNS, stream=True)
    assert text == ANSWER
    assert last.type == "message_stop"
    first, second = world.events()
    assert headers["x-ratchet-interaction"] == first.interaction_id
    assert (last.model_extra or {})["ratchet"]["interaction"] == second.interaction_id


def test_anthropics_client_raises_what_it_should(world: World) -> None:
    """A wrong key, an unknown model, a fault in the stream."""
    with (
        anthropic.Anthropic(base_url=world.url, api_key="stolen", max_retries=0) as thief,
        pytest.raises(anthropic.AuthenticationError),
    ):
        thief.messages.create(model="shop", max_tokens=5, messages=TURNS)
    with anthropic.Anthropic(base_url=world.url, api_key=API_KEY, max_retries=0) as client:
        with pytest.raises(anthropic.NotFoundError, match="there are: shop"):
            client.messages.create(model="claude", max_tokens=5, messages=TURNS)
        world.engine.stream_fault = "out of memory"
        with pytest.raises(anthropic.APIStatusError, match="out of memory"):
            list(client.messages.create(model="shop", max_tokens=50, messages=TURNS, stream=True))


def test_openais_client_gets_a_response(world: World) -> None:
    """Whole and streamed, with the receipt in the response itself."""
    with world.client() as client:
        whole = client.responses.create(
            model="shop", input=QUESTION, instructions="Be kind.", user="ann", metadata={"a": "b"}
        )
        with client.responses.stream(model="shop", input=QUESTION) as stream:
            streamed = stream.get_final_response() if stream.until_done() else None
    assert streamed is not None
    assert whole.output_text == streamed.output_text == ANSWER
    first, second = world.events()
    for response, event in ((whole, first), (streamed, second)):
        assert (response.model_extra or {})["ratchet"]["interaction"] == event.interaction_id
    assert [turn.role for turn in first.messages] == ["system", "user"]
    assert first.subject == subject_hash(KEYS.subject, "shop", "ann")
    assert world.engine.bodies[0]["store"] is False
    assert "user" not in world.engine.bodies[0]


def test_openais_client_raises_on_a_fault_in_a_response(world: World) -> None:
    """The error event is one on which the client raises."""
    world.engine.stream_fault = "out of memory"
    with world.client() as client, pytest.raises(openai.APIError, match="out of memory"):
        list(client.responses.create(model="shop", input=QUESTION, stream=True))


def test_a_generative_engine_says_that_it_makes_no_embeddings(world: World) -> None:
    """404 in OpenAI's shape with what to do, and no interaction."""
    with world.client() as client, pytest.raises(openai.NotFoundError, match="does not offer"):
        client.embeddings.create(model="shop", input="Hi")
    assert not world.events()


def test_an_embedding_engine_is_passed_through(tmp_path: Path) -> None:
    """Vectors go on unchanged; the text and its token count are logged."""
    with open_world(tmp_path, embeds=True) as world, world.client() as client:
        made = client.embeddings.create(
            model="shop", input=["Hi", "Hello"], encoding_format="float", user="ann"
        )
        (event,) = world.events()
    assert [vector.embedding for vector in made.data] == [[2.0, 0.5], [5.0, 0.5]]
    assert (made.model_extra or {})["ratchet"]["interaction"] == event.interaction_id
    assert (event.prompt_tokens, event.answer, event.status) == (2, "", "ok")
    assert [turn.content for turn in event.messages] == ["Hi", "Hello"]


def test_arms_hold_in_every_dialect(tmp_path: Path) -> None:
    """The canary takes everyone: each dialect's answer is its exposure."""

    def prepare(world: World) -> None:
        world.add_live_adapter()
        world.add_adapter(CANARY)
        world.add_rollout(share=1.0)

    with open_world(tmp_path, prepare=prepare, embeds=True) as world:
        for path in BODIES:
            assert world.post(path, body(path)).json()["ratchet"]["arm"] == "canary"
        events = world.events()
    assert {event.rollout_id for event in events} == {"rollout-1"}
    assert {event.adapter for event in events} == {CANARY}
