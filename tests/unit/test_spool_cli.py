"""`ratchet spool`: what waits where, moving it on, and applying it again."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import pytest
import structlog
from sqlmodel import select

from core.clock import utc_now
from core.ids import new_id
from core.settings import FILE_VARIABLE, load_settings
from feedback.events import INTERACTIONS_TOPIC, InteractionFinished, encode
from feedback.log.protocol import NewRecord
from feedback.log.segment import SegmentReader, segment_files
from feedback.log.slots import owner, spool_folders
from feedback.log.spool import Spool, SpoolLimits
from feedback.tables import Interaction
from loop.chores import Chores, chores_of, spool_chores
from loop.spool_cli import age
from loop.wiring import Parts, open_parts
from tests.ports import free_port
from tests.unit.loop_world import write_settings_file
from tests.unit.spool_world import ROOT
from tests.unit.test_cli import ratchet


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working folder, no settings, and afterwards the log configuration of before."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(FILE_VARIABLE, "set, so that it is restored")
    monkeypatch.delenv(FILE_VARIABLE)
    logs = structlog.get_config()
    yield tmp_path
    structlog.configure(**logs)


@pytest.fixture
def parts(place: Path) -> Iterator[Parts]:
    """The parts of a gateway that runs while commands are called."""
    with open_parts(load_settings(write_settings_file(place)), "gateway") as opened:
        yield opened


def answer(parts: Parts, count: int) -> None:
    """Log interactions as a gateway does."""
    for _ in range(count):
        event = InteractionFinished(
            event_id=new_id(),
            interaction_id=new_id(),
            application="desk",
            endpoint="/v1/chat/completions",
            requested_model="desk",
            messages=[],
            answer="a",
            latency_s=0.1,
            started_at=utc_now(),
        )
        parts.log.append([NewRecord(INTERACTIONS_TOPIC, event.interaction_id, encode(event))])


def stored(parts: Parts) -> int:
    """Return how many interactions the store has."""
    with parts.store.session() as session:
        return len(session.exec(select(Interaction)).all())


def test_status_tells_who_writes_what_and_what_waits(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a table for people and as JSON for scripts; reading changes nothing."""
    assert "no process has written" in ratchet(monkeypatch, "spool", "status").out
    answer(parts, 3)
    [told] = ratchet(monkeypatch, "spool", "status", "--json").json
    assert told["name"].startswith("gateway-0-")
    assert (told["records"], told["waiting"], told["segments"], told["damaged"]) == (3, 3, 1, 0)
    assert told["writer"] > 0
    assert 0 < told["waiting_s"] < 60
    assert told["max_bytes"] == parts.settings.log.max_bytes
    assert told["share"] < 0.01
    parts.ingest().drain()
    [told] = ratchet(monkeypatch, "spool", "status", "--json").json
    assert (told["records"], told["waiting"], told["waiting_s"]) == (3, 0, 0)
    assert told["oldest_s"] > 0
    monkeypatch.setenv("COLUMNS", "200")
    assert "gateway-0-" in ratchet(monkeypatch, "spool", "status").out


def test_drain_applies_everything_that_waits(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """It returns when nothing does, and says how much it was."""
    answer(parts, 5)
    assert ratchet(monkeypatch, "spool", "drain", "--json").json == {"moved": 5, "to": "the store"}
    assert stored(parts) == 5
    assert "0 records moved to the store" in ratchet(monkeypatch, "spool", "drain").out


def test_replay_applies_again_what_is_held(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it, or what came since; what is there already stays once, what was lost comes back."""
    assert "nothing was set back" in ratchet(monkeypatch, "spool", "replay").out
    answer(parts, 4)
    parts.ingest().drain()
    with parts.store.session() as session:
        session.delete(session.exec(select(Interaction)).all()[0])
        session.commit()
    future = (utc_now() + timedelta(hours=1)).isoformat()
    assert "nothing" in ratchet(monkeypatch, "spool", "replay", "--since", future).out
    assert ratchet(monkeypatch, "spool", "replay", "--json").json["waiting"] == 4
    assert "4 records moved" in ratchet(monkeypatch, "spool", "drain").out
    assert stored(parts) == 4
    done = ratchet(monkeypatch, "spool", "replay", "--since", "1h")
    assert "up to 4 records to apply again" in done.out
    assert parts.ingest().drain() == 4
    assert stored(parts) == 4


def test_a_wrong_time_is_refused_with_examples(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is set back by a guess."""
    done = ratchet(monkeypatch, "spool", "replay", "--since", "yesterday")
    assert done.code == 1
    assert "'yesterday'" in done.err
    assert "7d" in done.err


@pytest.mark.parametrize(
    ("seconds", "told"), [(0, "0 s"), (119, "119 s"), (600, "10 m"), (7_200, "2 h"), (2e5, "2 d")]
)
def test_ages_are_told_in_the_largest_fitting_unit(seconds: float, told: str) -> None:
    """People read days, not seconds."""
    assert age(seconds) == told


def test_two_gateways_of_one_machine_have_spools_of_their_own(place: Path) -> None:
    """On two ports and one data folder; what both have logged is one event log."""
    file = write_settings_file(place)
    ports = [free_port(), free_port()]
    command = [sys.executable, "-m", "loop.cli", "--settings", str(file), "gateway"]
    with ExitStack() as running:
        for port in ports:
            gateway = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | {"RATCHET_GATEWAY__PORT": str(port)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            running.callback(gateway.wait)
            running.callback(gateway.terminate)
        for port in ports:
            wait_until_alive(port)
        spools = spool_folders(load_settings(file).spool_dir)
        assert [folder.name.rpartition("-")[0] for folder in spools] == ["gateway-0", "gateway-1"]
        assert len({owner(folder) for folder in spools} - {None, 0}) == 2
    assert [owner(folder) for folder in spools] == [None, None]


def wait_until_alive(port: int) -> None:
    """Return when the gateway answers."""
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=5):
                return
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_chores_let_go_of_what_was_applied_while_nothing_comes_in(
    parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once its time is over, and also of a process that died."""
    settings = parts.settings
    quick = settings.model_copy(update={"log": settings.log.model_copy(update={"keep_s": 0.0})})
    dead = Spool(settings.spool_dir / "gateway-7-dead", SpoolLimits(1 << 24))
    dead.append([NewRecord(INTERACTIONS_TOPIC, "k", b"{}")])
    shutil.copytree(dead.folder, settings.spool_dir / "gateway-8-crashed")
    dead.close()
    with open_parts(quick, "ingest") as consumer:
        consumer.ingest().drain()
        chores = Chores(spool_chores(quick, lambda: None))
        chores.run_due()  # seals what the crashed one left
        for chore in chores_of(consumer):
            if "spools" in chore.name:
                chore.run()
    for name in ("gateway-7-dead", "gateway-8-crashed"):
        [left] = segment_files(settings.spool_dir / name)
        assert SegmentReader.open(left).last() == 0
