"""The whole loop on the real engine and the real model, short: rate, train, promote, roll back."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import openai
import pytest
from rich.console import Console
from sqlmodel import col, select

from core.files import folder_sha256
from core.ids import new_id
from core.settings import Settings, load_settings
from feedback.tables import Adapter, Interaction
from loop.demo.desk import Fact, judge, load_desk
from loop.narration import Narrator
from loop.service import running_service
from loop.turn import ingest, start_canary, turn, wait_for_end
from loop.wiring import Parts, open_parts
from retrain.registry.ledger import record_override
from tests.fakes.lora import write_lora
from tests.ports import free_port

pytestmark = [pytest.mark.stack, pytest.mark.timeout(1800)]

FACTS = 5
CONCURRENT = 8
SYSTEM = "You answer for a help desk."

SETTINGS = """
data_dir = "{folder}/data"
[applications.desk]
api_key = "test-key"
[engine]
model = "{model}"
port = {engine_port}
max_adapters = 2
max_model_len = 512
[gateway]
port = {gateway_port}
[console]
port = {console_port}
[curation]
min_examples = 10
test_share = 0.3
[retrain]
recipe = "{recipe}"
cooldown_s = 0
[gate]
suites = ["wins"]
examples = 8
[canary]
shares = [0.5]
min_ratings = 20
min_s = 1
guardrails = ["error", "latency"]
error_tolerance = 0.3
latency_over_s = 60
latency_tolerance = 0.3
watch_s = 1
check_every_s = 0.5
"""


@dataclass
class Users:
    """People who know the truth; `count` of them came so far."""

    settings: Settings
    facts: tuple[Fact, ...]
    count: int = 0

    def come(self, number: int, *, correct: bool = False) -> list[str]:
        """Let new people ask one question each and rate it; return the adapters that answered."""
        first, self.count = self.count, self.count + number
        return asyncio.run(self._come(range(first, self.count), correct))

    async def _come(self, people: range, correct: bool) -> list[str]:
        gate = asyncio.Semaphore(CONCURRENT)
        async with (
            openai.AsyncOpenAI(
                base_url=f"{self.settings.gateway.url}/v1", api_key="test-key", timeout=120
            ) as chat,
            httpx.AsyncClient(base_url=self.settings.gateway.url) as web,
        ):
            asks = (self._ask(chat, web, gate, person, correct) for person in people)
            return await asyncio.gather(*asks)

    async def _ask(
        self,
        chat: openai.AsyncOpenAI,
        web: httpx.AsyncClient,
        gate: asyncio.Semaphore,
        person: int,
        correct: bool,
    ) -> str:
        fact = self.facts[person % len(self.facts)]
        question = fact.phrasings[person // len(self.facts) % len(fact.phrasings)]
        async with gate:
            answer = await chat.chat.completions.create(
                model="desk",
                messages=[
                    {"role": "system", "content": SYSTEM},
                    {"role": "user", "content": question},
                ],
                max_tokens=24,
                temperature=0.3,
                user=f"person-{person}",
            )
        stamp = (answer.model_extra or {})["ratchet"]
        good = judge(fact, answer.choices[0].message.content or "")
        receipt = {"receipt": stamp["receipt"]}
        said = await web.post("/v1/feedback", json=receipt | {"kind": "thumbs", "value": good})
        assert said.status_code == 201, said.text
        if correct and not good:
            edit = receipt | {"kind": "correction", "value": fact.answer}
            assert (await web.post("/v1/feedback", json=edit)).status_code == 201
        return stamp["adapter"]


@pytest.fixture
def settings_file(tmp_path: Path, base_model: Path) -> Path:
    """The settings of a small, hasty Ratchet."""
    recipe = tmp_path / "recipe.toml"
    demo = Path(__file__).parents[2] / "loop" / "demo" / "sft-desk.toml"
    recipe.write_text(demo.read_text().replace("epochs = 3 ", "epochs = 5 "))
    file = tmp_path / "ratchet.toml"
    file.write_text(
        SETTINGS.format(
            folder=tmp_path,
            model=base_model.resolve(),
            engine_port=free_port(),
            gateway_port=free_port(),
            console_port=free_port(),
            recipe=recipe,
        )
    )
    return file


@pytest.fixture
def parts(settings_file: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    """The parts of a running service."""
    monkeypatch.setenv("RATCHET_SETTINGS", str(settings_file))
    settings = load_settings(settings_file)
    with open_parts(settings) as opened, running_service(settings, settings_file) as service:
        service.wait_until_ready()
        yield opened


def test_feedback_becomes_a_promoted_adapter_and_a_bad_one_is_rolled_back(parts: Parts) -> None:
    """One whole turn: corrections, dataset, adapter, gate, canary, live; then a bad adapter."""
    users = Users(parts.settings, load_desk().facts[:FACTS])
    assert set(users.come(40, correct=True)) == {"base"}

    _assert_promotes(parts, users)
    with parts.store.session() as session:
        stored = session.exec(select(Interaction).where(col(Interaction.shadow_of).is_(None))).all()
    assert len(stored) == users.count, "every answer is in the store, once"

    bad = _register_broken_adapter(parts)
    rollout = start_canary(parts, bad)
    ended = _serve_until_ended(parts, users, rollout.id)
    assert (ended, _live(parts)) == ("rolled_back", "desk--v1")


def _assert_promotes(parts: Parts, users: Users) -> None:
    """Turn the loop while people use the service; the verdict must promote the new adapter."""
    import threading

    results: list[object] = []
    narrator = Narrator(Console(stderr=True))

    def work() -> None:
        try:
            results.append(turn(parts, "desk", narrator))
        except Exception as error:  # told to the test
            results.append(error)

    worker = threading.Thread(target=work)
    worker.start()
    while worker.is_alive():
        if _is_exposing(parts):
            users.come(CONCURRENT)
        worker.join(0.5)
    (result,) = results
    assert not isinstance(result, Exception), result
    rollout = result.rollout  # type: ignore[attr-defined]
    assert rollout.decided_by == "conductor"
    assert wait_for_end(parts, rollout.id, narrator).state == "live"
    assert _live(parts) == "desk--v1"
    ingest(parts)


def _is_exposing(parts: Parts) -> bool:
    from feedback.tables import Rollout

    with parts.store.session() as session:
        rollout = session.exec(select(Rollout)).first()
    return rollout is not None


def _serve_until_ended(parts: Parts, users: Users, rollout_id: str) -> str:
    from feedback.tables import Rollout

    for _ in range(40):
        users.come(CONCURRENT)
        with parts.store.session() as session:
            rollout = session.get_one(Rollout, rollout_id)
        if rollout.finished_at is not None:
            return rollout.state
    return "undecided"


def _live(parts: Parts) -> str | None:
    from feedback.tables import Application

    with parts.store.session() as session:
        return session.get_one(Application, "desk").live_adapter


def _register_broken_adapter(parts: Parts) -> str:
    """Register an adapter of random weights that an operator insists on."""
    settings = parts.settings
    folder = write_lora(settings.folder("adapters") / "desk--v9", settings.engine.model)
    with parts.store.session() as session:
        live = session.get_one(Adapter, "desk--v1")
        session.add(
            Adapter(
                name="desk--v9",
                application="desk",
                base_model=live.base_model,
                path=str(folder),
                content_hash=folder_sha256(folder),
                run_id=new_id(),
                dataset_id=live.dataset_id,
                rank=8,
                gate={"decision": "fail", "reasons": ["random weights"]},
                created_by="test",
            )
        )
        session.commit()
        record_override(session, "desk--v9", operator="olga", reason="to see it rolled back")
        session.commit()
    return "desk--v9"
