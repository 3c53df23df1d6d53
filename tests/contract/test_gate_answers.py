"""Who answers the gate's questions: the fake engine, the real vLLM, and how each is asked once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.errors import GateError
from core.ids import gate_adapter, gate_run
from retrain.gate.answering import Ask, Model, answer_all, forget_answers, summary
from retrain.gate.engine_answers import EngineAnswers
from retrain.gate.suite import Answer
from serving.engine_client import EngineClient
from tests.fakes.engine import FakeEngine
from tests.fakes.lora import write_base_config, write_lora
from tests.ports import free_port

PROMPTS = [Ask((504, 3575, 282, 4649, 314), tokens) for tokens in (3, 4, 5)]
END = 2  # of SmolLM2's turns

World = tuple[str, Path]


@pytest.fixture(scope="module", params=["fake", pytest.param("vllm", marks=pytest.mark.stack)])
def world(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    """Give an engine's URL and its base model's folder."""
    if request.param == "vllm":
        yield request.getfixturevalue("vllm_engine"), request.getfixturevalue("base_model")
        return
    model = write_base_config(tmp_path_factory.mktemp("model"))
    with FakeEngine() as engine:
        engine.root = str(model)
        yield engine.url, model


def adapter(base: Path, folder: Path) -> Path:
    """Return the folder of an adapter."""
    write_lora(folder, base, rank=4)
    return folder


def engine_at(url: str, run: str = "run-1") -> EngineAnswers:
    """Return the engine as the gate of a run asks it."""
    return EngineAnswers(url, run, concurrent=2, stop_id=END)


def loaded(url: str) -> dict[str, str | None]:
    """Return the adapters that the engine has."""

    async def ask() -> dict[str, str | None]:
        async with EngineClient(url) as client:
            return await client.adapters()

    return asyncio.run(ask())


def administer(url: str, verb: str, name: str, folder: Path) -> None:
    """Load or unload an adapter, as others do."""

    async def ask() -> None:
        async with EngineClient(url) as client:
            await (client.load(name, str(folder)) if verb == "load" else client.unload(name))

    asyncio.run(ask())


def answers_of(by: EngineAnswers, model: Model) -> dict[int, Answer]:
    """Return the answers by the number of tokens that were asked for."""
    heard: dict[int, Answer] = {}
    by.answer(model, PROMPTS, lambda ask, answer: heard.update({ask.max_tokens: answer}))
    return heard


def test_candidate_answers_under_a_name_that_goes_away(world: World, tmp_path: Path) -> None:
    """The adapter is loaded for the gate, answers every ask, and is forgotten afterwards."""
    url, base = world
    model = Model("candidate", adapter(base, tmp_path / "adapter"))
    heard = answers_of(engine_at(url), model)
    assert set(heard) == {3, 4, 5}
    assert all(0 < answer.tokens <= tokens for tokens, answer in heard.items())
    assert all(answer.seconds > 0 for answer in heard.values())
    assert gate_adapter("run-1", "candidate") not in loaded(url)


def test_what_a_killed_gate_left_is_taken_away(world: World, tmp_path: Path) -> None:
    """The name of an earlier attempt is loaded anew, with today's files."""
    url, base = world
    folder = adapter(base, tmp_path / "adapter")
    administer(url, "load", gate_adapter("run-2", "candidate"), folder)
    assert answers_of(engine_at(url, "run-2"), Model("candidate", folder))
    assert gate_adapter("run-2", "candidate") not in loaded(url)


def test_live_adapter_is_asked_by_its_own_name(world: World, tmp_path: Path) -> None:
    """What the engine has for its users is not loaded twice, and stays."""
    url, base = world
    folder = adapter(base, tmp_path / "live")
    administer(url, "load", "desk--v9", folder)
    try:
        assert answers_of(engine_at(url), Model("live", folder))
        assert loaded(url)["desk--v9"] == str(folder)
    finally:
        administer(url, "unload", "desk--v9", folder)


def test_base_model_answers_too(world: World) -> None:
    """A first adapter is compared with the base, which needs no loading."""
    assert set(answers_of(engine_at(world[0]), Model("live", None))) == {3, 4, 5}


def test_engine_of_another_model_is_not_asked(world: World, tmp_path: Path) -> None:
    """Answers of another base would say nothing; why not is told."""
    why = engine_at(world[0]).why_not(str(tmp_path))
    assert why is not None
    assert str(tmp_path) in why


def test_absent_engine_is_told() -> None:
    """A gate without an engine says so, and the other answerer steps in."""
    why = engine_at(f"http://127.0.0.1:{free_port()}").why_not("/model")
    assert why is not None
    assert why.startswith("no engine answers at")


def test_refused_adapter_is_a_gate_error(world: World, tmp_path: Path) -> None:
    """What the engine will not load cannot pass by being forgotten."""
    folder = tmp_path / "empty"
    folder.mkdir()
    with pytest.raises(GateError, match="refuses to load"):
        answers_of(engine_at(world[0]), Model("candidate", folder))


def test_forgotten_adapter_is_loaded_again(tmp_path: Path) -> None:
    """An engine that restarted, or a reconciler that tidied up, does not end the gate."""
    base = write_base_config(tmp_path / "base")
    with FakeEngine() as engine:
        engine.root = str(base)
        engine.fail_next(404, path="/v1/completions", message="The model does not exist.")
        engine.fail_next(503, path="/v1/completions")
        model = Model("candidate", adapter(base, tmp_path / "adapter"))
        assert set(answers_of(engine_at(engine.url), model)) == {3, 4, 5}


def test_engine_that_only_fails_ends_the_gate(tmp_path: Path) -> None:
    """After a few attempts the engine's own words are told."""
    with FakeEngine() as engine:
        engine.fail_next(400, path="/v1/completions", times=9, message="too long for me")
        with pytest.raises(GateError, match="too long for me"):
            answers_of(engine_at(engine.url), Model("live", None))


def test_answers_are_asked_once(tmp_path: Path) -> None:
    """A gate that goes on asks only what was not answered, also past a line that was cut off."""
    with FakeEngine() as engine:
        model, told = Model("live", None), list[int]()
        answer_all(tmp_path, engine_at(engine.url), model, PROMPTS[:2], told.append)
        path = tmp_path / "answers" / "live.jsonl"
        path.write_bytes(path.read_bytes() + b'{"key": "half')
        before = len(engine.bodies)
        both = answer_all(tmp_path, engine_at(engine.url), model, PROMPTS, told.append)
        assert len(engine.bodies) == before + 1
        assert sum(told) == 2 + 2 + 1
        assert set(both) == {ask.key for ask in PROMPTS}
        answer_all(tmp_path, engine_at(engine.url), model, PROMPTS[:1], told.append)
        assert len(engine.bodies) == before + 1
    took = summary(list(both.values()), 3.6, 10.0)
    assert (took.answers, took.usd) == (3, pytest.approx(0.01))
    assert summary([], 0.0, None).usd is None
    forget_answers(tmp_path)
    assert not path.exists()


def test_names_of_gates_tell_their_runs() -> None:
    """The reconciler knows by the name whose adapter it is."""
    assert gate_run(gate_adapter("01a2-run", "candidate")) == "01a2-run"
    assert gate_run("desk--v1") is None
