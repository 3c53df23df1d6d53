"""The scheduler's look: what it begins by itself, what it leaves alone, and that it never waits."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlmodel import select

from core.clock import utc_now
from core.ids import new_id
from core.settings import FILE_VARIABLE, load_settings
from feedback.tables import Run
from loop.background import (
    STOPPED,
    Memory,
    is_at_work,
    only_one,
    read_memory,
)
from loop.retrain_job import plan_retraining
from loop.wiring import Parts, open_parts
from retrain.runs.assembly import TrainRequest
from retrain.runs.runner import REQUEST_FILE
from tests.unit.loop_world import write_settings_file
from tests.unit.policy_world import DAY, add_adapter, add_dataset, add_run, answer

ENOUGH = 24  # curation asks for 20
SOON_S = 60.0


@pytest.fixture
def parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    """A store with the application `desk`, whose trainings begin by themselves."""
    file = write_settings_file(tmp_path)
    file.write_text(file.read_text() + "[retrain]\nautomatic = true\n")
    monkeypatch.setenv(FILE_VARIABLE, str(file))
    with open_parts(load_settings(file)) as opened:
        yield opened


def changed(parts: Parts, **values: Any) -> Parts:
    """Return the parts with other settings."""
    return replace(parts, settings=parts.settings.model_copy(update=values))


def praised(parts: Parts, count: int) -> None:
    """Let so many people ask something else each, and like the answer."""
    with parts.store.session() as session:
        for number in range(count):
            words = f"{number * 7919} parcels to street {number * 104729}"
            said = [{"role": "user", "content": f"Where are the {words}?"}]
            told = f"The {words} leave on day {number * 31}."
            answer(session, utc_now(), good=True, messages=said, answer=told, adapter=None)
        session.commit()


def wait_for_end(parts: Parts) -> Memory:
    """Return what the process of `desk` remembers, once it has ended."""
    end = time.monotonic() + SOON_S
    memory = Memory()
    while time.monotonic() < end and (memory == Memory() or is_at_work(parts.settings, "desk")):
        time.sleep(0.1)
        memory = read_memory(parts.settings, "desk")
    assert memory != Memory(), "the process did not end in time"
    return memory


def test_nothing_is_automatic_unless_it_is_set(parts: Parts) -> None:
    """Whatever waits, people begin the trainings."""
    praised(parts, ENOUGH)
    rules = parts.settings.retrain.model_copy(update={"automatic": False})
    assert plan_retraining(changed(parts, retrain=rules)) == "off: retrain.automatic is false"
    assert plan_retraining(changed(parts, applications={})) == "no application is set"


def test_what_is_due_begins_in_a_process_of_its_own(parts: Parts) -> None:
    """The job returns at once; the process curates, asks again, and its error is told next time."""
    praised(parts, ENOUGH)
    began = time.monotonic()
    told = plan_retraining(parts)
    assert time.monotonic() - began < 5.0
    assert told.startswith("desk: begins, if curation agrees: first: no adapter is live and 24")
    memory = wait_for_end(parts)
    assert memory.waiting == ENOUGH
    assert "tokenizer.json does not exist" in (memory.error or "")
    with parts.store.session() as session:
        assert session.exec(select(Run)).all() == []
    log = parts.settings.data_dir / "logs" / "retrain-desk.log"
    assert "tokenizer.json does not exist" in log.read_text()
    told = plan_retraining(parts)
    assert told.startswith("desk: too little new (24 answers) (the last try said: /")
    with only_one(parts.settings, "desk"):
        assert plan_retraining(parts) == "desk: a training is at work"


def test_too_little_is_left_to_wait(parts: Parts) -> None:
    """A first dataset version needs enough answers, and what was in vain once needs more."""
    assert plan_retraining(parts) == "desk: too little new (0 answers)"
    praised(parts, ENOUGH)
    remember(parts, Memory(None, ENOUGH - 1, "only 3 examples are left"))
    assert plan_retraining(parts) == (
        "desk: too little new (24 answers) (the last try said: only 3 examples are left)"
    )


def remember(parts: Parts, memory: Memory) -> None:
    """Let a try have been made."""
    folder = parts.settings.data_dir / "retraining"
    folder.mkdir(exist_ok=True)
    (folder / "desk.json").write_bytes(msgspec.json.encode(memory))


def test_a_quiet_policy_begins_nothing(parts: Parts) -> None:
    """What waits is counted with what is curated; what a try has seen does not count again."""
    with parts.store.session() as session:
        for number in (1, 2):
            add_dataset(session, f"desk--d{number}", range(100), created_at=utc_now() - DAY)
        add_adapter(session, "desk--v1", "desk--d1", base_model=str(parts.settings.engine.model))
    told = plan_retraining(parts)
    assert told == "desk: no trigger: 0% new examples (0), under 10%"
    praised(parts, ENOUGH)
    remember(parts, Memory("desk--d2", ENOUGH - 8))
    assert plan_retraining(parts) == "desk: no trigger: 7% new examples (8), under 10%"


def test_applications_without_canaries_are_left_alone(parts: Parts) -> None:
    """What is trained could not reach anybody."""
    praised(parts, ENOUGH)
    for values in ({"canary": False}, {"adapter": "base"}):
        kept = parts.settings.applications["desk"].model_copy(update=values)
        assert plan_retraining(changed(parts, applications={"desk": kept})) == (
            "desk: takes no canaries"
        )


def test_an_error_of_one_application_stops_no_other(parts: Parts) -> None:
    """It is told beside what the others came to."""
    desk = parts.settings.applications["desk"]
    rules = parts.settings.retrain.model_copy(update={"recipe": "magic"})
    with parts.store.session() as session:
        add_dataset(session, "desk--d1", range(9))
        add_adapter(session, "desk--v1", "desk--d1", path=str(parts.settings.data_dir))
    (parts.settings.data_dir / "adapter_config.json").write_text('{"r": 4}')
    both = changed(parts, applications={"desk": desk, "shop": desk}, retrain=rules)
    told = plan_retraining(both)
    assert told.startswith("desk: error: no recipe 'magic'")
    assert told.endswith("; shop: too little new (0 answers)")


@pytest.mark.parametrize(
    ("values", "by", "goes_on"),
    [
        ({"status": "failed", "error": STOPPED}, "scheduler", True),
        ({"status": "running"}, "scheduler", True),
        ({"status": "failed", "error": "out of memory"}, "scheduler", False),
        ({"status": "running"}, "ann", False),
    ],
)
def test_only_what_the_service_broke_off_goes_on(
    parts: Parts, tmp_path: Path, values: dict[str, Any], by: str, goes_on: bool
) -> None:
    """A run that failed by itself, or that a person began, is left to people."""
    folder = tmp_path / "run"
    folder.mkdir()
    request = TrainRequest("desk", "desk--d1", "full", None, "sft-lora", "growth: x", by)
    (folder / REQUEST_FILE).write_bytes(msgspec.json.encode(request))
    with parts.store.session() as session:
        run = add_run(session, "growth: x", 9, id=new_id(), folder=str(folder), **values)
    told = plan_retraining(parts)
    assert (told == f"desk: run {run.id} goes on") is goes_on
    if goes_on:
        assert wait_for_end(parts).error is not None  # there is no job in that folder
