"""The scheduler's jobs: their results are kept, failures are told, nothing overlaps itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr
from sqlalchemy.exc import OperationalError
from sqlmodel import select
from typer.testing import CliRunner

from core.clock import as_utc, utc_now
from core.errors import DataError
from core.scheduler_settings import SchedulerSettings
from core.settings import ApplicationSettings, Settings
from feedback.job_tables import JobState
from loop import job_ledger
from loop.cli import app
from loop.jobs import NOTHING, Job, jobs_of
from loop.leadership import Term, fenced, leader_of
from loop.scheduler import LONGEST_MESSAGE, run_job, run_scheduler
from loop.wiring import Parts, open_parts
from tests.ready_store import lay_store
from tests.unit.loop_world import write_settings_file

TERM = Term(1, "host:1")


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    """A service with one application, whose schedulers are quick."""
    settings = Settings(
        data_dir=tmp_path,
        applications={"desk": ApplicationSettings(api_key=SecretStr("key"))},
        scheduler=SchedulerSettings(take_over_every_s=0.05, check_every_s=0.05),
    )
    lay_store(settings.store_address)
    with open_parts(settings) as parts:
        yield parts


@contextmanager
def scheduling(parts: Parts, *jobs: Job) -> Generator[None]:
    """Run a scheduler beside the test."""
    stop = threading.Event()
    thread = threading.Thread(target=run_scheduler, args=(parts, stop, jobs))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def state_of(parts: Parts, name: str) -> JobState | None:
    with parts.store.session() as session:
        return session.get(JobState, name)


def finished(parts: Parts, name: str) -> bool:
    state = state_of(parts, name)
    return state is not None and state.last_finished_at is not None


def test_a_failing_job_is_told_and_comes_again(parts: Parts) -> None:
    """Its error is its result until it goes well."""
    tries: list[int] = []

    def fail_first(_parts: Parts) -> str:
        tries.append(1)
        if len(tries) < 3:
            raise DataError("the table is empty: fill it")
        return "done"

    with scheduling(parts, Job("weak", 0.3, fail_first), Job("strong", 0.3, lambda _parts: "fine")):
        wait_for(lambda: finished(parts, "weak"))
        failed = state_of(parts, "weak")
        wait_for(lambda: len(tries) >= 3)
        wait_for(lambda: bool((now := state_of(parts, "weak")) and now.ok))
    assert failed is not None
    assert (failed.ok, failed.message) == (False, "the table is empty: fill it")
    strong = state_of(parts, "strong")
    assert strong is not None
    assert (strong.ok, strong.message) == (True, "fine")


def test_a_job_never_overlaps_itself_and_missed_times_become_one(parts: Parts) -> None:
    """One that takes five intervals runs once in each five."""
    running, most, runs = [0], [0], [0]

    def slow(_parts: Parts) -> str:
        running[0] += 1
        most[0] = max(most[0], running[0])
        time.sleep(0.25)
        running[0] -= 1
        runs[0] += 1
        return "slow"

    began = time.monotonic()
    with scheduling(parts, Job("slow", 0.05, slow)):
        wait_for(lambda: runs[0] >= 3)
    assert most[0] == 1
    assert runs[0] <= (time.monotonic() - began) / 0.25


def test_stopping_waits_for_what_runs(parts: Parts) -> None:
    """Its result is kept."""
    begun = threading.Event()

    def work(_parts: Parts) -> str:
        begun.set()
        time.sleep(0.3)
        return "all of it"

    with scheduling(parts, Job("work", 60, work)):
        assert begun.wait(20)
    state = state_of(parts, "work")
    assert state is not None
    assert (state.ok, state.message) == (True, "all of it")


def test_a_new_leader_waits_for_the_interval_of_the_old(parts: Parts) -> None:
    """Not for a job that was broken off or never ran."""
    now = utc_now()
    with parts.store.session() as session:
        job_ledger.begin(session, "done", TERM, now - timedelta(seconds=40), now)
        job_ledger.finish(session, "done", now, ok=True, message="")
        job_ledger.begin(session, "late", TERM, now - timedelta(seconds=400), now)
        job_ledger.finish(session, "late", now, ok=True, message="")
        job_ledger.begin(session, "broken off", TERM, now - timedelta(seconds=40), now)
        first = {
            name: job_ledger.first_time(session, name, 100.0, now)
            for name in ("done", "late", "broken off", "new")
        }
    assert first.pop("done") == now + timedelta(seconds=60)
    assert set(first.values()) == {now}


def test_an_error_of_the_database_shows_no_values(parts: Parts) -> None:
    """A statement's values may be anything, and a message has a limit."""

    def lose(_parts: Parts) -> str:
        raise OperationalError("SELECT 'secret'", {"key": "secret"}, ValueError("gone " * 200))

    leader = leader_of(parts.store)
    term = leader.acquire()
    assert term is not None
    with fenced(parts.store, term) as store:
        outcome = run_job(
            Parts(parts.settings, store, parts.log, parts.source, parts.keys),
            Job("lose", 1, lose),
            term,
        )
    leader.release()
    assert outcome.message.startswith("OperationalError: (builtins.ValueError) gone")
    assert "secret" not in outcome.message
    assert len(outcome.message) == LONGEST_MESSAGE


def test_every_job_of_the_service_runs_on_an_empty_store(parts: Parts) -> None:
    """With nothing to do, and says so in a line."""
    told = {job.name: job.run(parts) for job in jobs_of(parts.settings)}
    assert told["retain"] == told["carry_out_erasures"] == told["mark_anomalies"] == NOTHING
    assert told["sync_mlflow"] == "registry.mlflow_uri is not set"
    assert all(line and "\n" not in line for line in told.values())


def test_people_see_jobs_and_run_one(tmp_path: Path) -> None:
    """Without a scheduler the command leads itself for that time."""
    file = write_settings_file(tmp_path)

    def ratchet(*arguments: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["--settings", str(file), *arguments])
        return done.exit_code, done.stdout

    code, before = ratchet("jobs", "list", "--json")
    assert code == 0
    assert {row["state"] for row in json.loads(before)} == {"never ran"}
    assert ratchet("jobs", "run", "retain") == (0, f"retain ok: {NOTHING}\n")
    rows = {row["job"]: row for row in json.loads(ratchet("jobs", "list", "--json")[1])}
    assert (rows["retain"]["state"], rows["retain"]["message"]) == ("ok", NOTHING)
    assert rows["retain"]["took_s"] >= 0
    assert "retain" in ratchet("jobs", "list")[1]
    done = CliRunner().invoke(app, ["--settings", str(file), "jobs", "run", "nothing"])
    assert "no job 'nothing'" in str(done.exception)


def test_a_job_that_people_want_is_run_by_the_leader(tmp_path: Path) -> None:
    """The command waits for it; it does not run a second one beside it."""
    file = write_settings_file(tmp_path)
    file.write_text(file.read_text() + "[scheduler]\ncheck_every_s = 0.05\n")
    settings = Settings(data_dir=tmp_path / "data", scheduler=SchedulerSettings(check_every_s=0.05))
    runs: list[int] = []

    def count(_parts: Parts) -> str:
        runs.append(1)
        return f"run {len(runs)}"

    with open_parts(settings) as parts, scheduling(parts, Job("retain", 3_600, count)):
        wait_for(lambda: finished(parts, "retain"))
        arguments = ["--settings", str(file), "jobs", "run", "retain", "--json"]
        done = CliRunner().invoke(app, arguments)
        state = state_of(parts, "retain")
        with parts.store.session() as session:
            assert len(session.exec(select(JobState)).all()) == 1
    assert json.loads(done.stdout)["message"] == "run 2"
    assert state is not None
    assert state.wanted_at is None
    assert state.next_at is not None
    assert as_utc(state.next_at) > utc_now() + timedelta(seconds=3_000)
