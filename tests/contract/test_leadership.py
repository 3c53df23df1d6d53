"""One leader of all, on SQLite and on a real PostgreSQL: one at a time, a fence, a take-over."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import Session, select

from core.clock import utc_now
from feedback.job_tables import JobState, Leadership
from feedback.store import Store
from loop.leadership import (
    FileLeader,
    Leader,
    LeadershipLostError,
    LockLeader,
    Term,
    fenced,
    leader_of,
)
from tests.unit.review_world import review_store

__all__ = ["review_store"]  # fixture

ROOT = Path(__file__).resolve().parents[2]
END_LEADERS = text(  # and wait, in ms, until they are gone
    "SELECT pg_terminate_backend(pid, 10000) FROM pg_locks WHERE locktype = 'advisory'"
)
TAKEN_OVER_WITHIN_S = 30.0  # our goal: no job waits longer for a new leader


@pytest.fixture
def pair(store: Store) -> Iterator[tuple[Leader, Leader]]:
    """Two who would lead."""
    leaders = leader_of(store), leader_of(store)
    yield leaders
    for leader in leaders:
        leader.release()


def led(leader: Leader) -> Term:
    term = leader.acquire()
    assert term is not None
    return term


def lose(leader: Leader, store: Store) -> None:
    """Take the leader's lock away as its death, or the server, would: it is not told."""
    if isinstance(leader, FileLeader):
        leader._file.close()  # pyright: ignore[reportPrivateUsage, reportOptionalMemberAccess]
        return
    assert isinstance(leader, LockLeader)
    with store.engine.begin() as connection:
        connection.execute(END_LEADERS)


def add(session: Session, name: str) -> None:
    session.add(JobState(name=name, last_started_at=utc_now()))
    session.commit()


def test_one_of_two_leads_until_it_lets_go(pair: tuple[Leader, Leader]) -> None:
    """The other's term has the next epoch."""
    first, second = pair
    term = led(first)
    assert second.acquire() is None
    assert first.holds(term)
    assert not second.holds(term)
    first.release()
    assert not first.holds(term)
    assert led(second).epoch == term.epoch + 1
    assert first.acquire() is None


def test_who_leads_is_in_the_store(store: Store, pair: tuple[Leader, Leader]) -> None:
    """With host and process, for people."""
    term = led(pair[0])
    with store.session() as session:
        row = session.exec(select(Leadership)).one()
    assert (row.epoch, row.holder) == (term.epoch, term.holder)
    assert term.holder.rpartition(":")[2].isdigit()


def test_a_leader_that_lost_its_lock_cannot_write(
    store: Store, pair: tuple[Leader, Leader]
) -> None:
    """What it had begun is refused at the commit, by sessions and by connections alike."""
    first, second = pair
    old = led(first)
    with fenced(store, old) as mine, mine.session() as session:
        add(session, "before")
        session.add(JobState(name="after"))
        lose(first, store)
        new = led(second)
        with pytest.raises(LeadershipLostError, match=f"epoch {new.epoch}, not {old.epoch}"):
            session.commit()
        session.rollback()
        with pytest.raises(LeadershipLostError), mine.engine.begin() as connection:
            connection.execute(text("DELETE FROM jobstate"))
        with fenced(store, new) as theirs, theirs.session() as other:
            add(other, "of the new one")
    assert not first.holds(old)
    with store.session() as session:
        assert set(session.exec(select(JobState.name))) == {"before", "of the new one"}


def test_a_fence_lets_a_leader_read_and_write_often(
    store: Store, pair: tuple[Leader, Leader]
) -> None:
    """Again and again, and others' stores are not fenced."""
    with fenced(store, led(pair[0])) as mine:
        for number in range(3):
            with mine.session() as session:
                add(session, f"job {number}")
                assert len(session.exec(select(JobState)).all()) == number + 1
    pair[0].release()
    led(pair[1])
    with store.session() as session:
        add(session, "somebody else")


class Schedulers:
    """Schedulers as processes on one store, whose job leaves lines in one file."""

    def __init__(self, folder: Path, store: Store, every_s: float) -> None:
        self.file = folder / "runs.txt"
        url = store.engine.url.render_as_string(hide_password=False)
        self._command = [sys.executable, "-m", "tests.fakes.scheduler_process"]
        self._arguments = [str(folder / "data"), url, str(self.file), str(every_s)]
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen([*self._command, *self._arguments], cwd=ROOT)
        self.started.append(process)
        return process

    def runs(self) -> list[tuple[int, float]]:
        """Return process and instant of each run."""
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return [(int(pid), float(at)) for pid, at in (line.split() for line in lines)]

    def stop(self) -> None:
        for process in self.started:
            process.terminate()
        for process in self.started:
            process.wait(30)


@pytest.fixture
def schedulers(tmp_path: Path, store: Store) -> Iterator[Schedulers]:
    """None yet; those that are started are stopped in the end."""
    world = Schedulers(tmp_path, store, every_s=1.0)
    yield world
    world.stop()


def wait_for(condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def test_two_schedulers_never_run_a_job_twice_and_one_takes_over(
    store: Store, schedulers: Schedulers
) -> None:
    """Runs are an interval apart whoever does them; after `kill -9` the other goes on."""
    for _ in range(2):
        schedulers.start()
    wait_for(lambda: len(schedulers.runs()) >= 4)
    [leader] = {pid for pid, _ in schedulers.runs()}
    dead = next(process for process in schedulers.started if process.pid == leader)
    time.sleep(0.3)  # between two runs: one that is broken off is run again at once
    dead.send_signal(signal.SIGKILL)
    killed_at = time.time()
    dead.wait()
    wait_for(lambda: schedulers.runs()[-1][0] != leader)
    wait_for(lambda: sum(pid != leader for pid, _ in schedulers.runs()) >= 3)
    runs = schedulers.runs()
    first = next(at for pid, at in runs if pid != leader)
    assert first - killed_at < TAKEN_OVER_WITHIN_S
    schedulers.stop()
    runs = schedulers.runs()
    assert len({pid for pid, _ in runs}) == 2
    # the thread pool starts a run some ms late: 1 s, with half of it left for a busy machine
    gaps = [later - earlier for (_, earlier), (_, later) in pairwise(runs)]
    assert min(gaps) > 0.5
    with store.session() as session:
        state = session.exec(select(JobState)).one()
        epoch = session.exec(select(Leadership.epoch)).one()
    assert (state.name, state.ok, state.message, state.epoch, epoch) == (
        *("mark", True, "marked"),
        *(2, 2),
    )


def test_a_scheduler_whose_connection_ends_leads_again(postgresql_url: str, tmp_path: Path) -> None:
    """In a new term, without a process that ends."""
    store = Store(postgresql_url)
    store.create_tables()
    world = Schedulers(tmp_path, store, every_s=0.2)
    try:
        process = world.start()
        wait_for(lambda: len(world.runs()) >= 2)
        before = epoch_of(store)
        with store.engine.begin() as connection:
            connection.execute(END_LEADERS)
        wait_for(lambda: epoch_of(store) == before + 1)
        seen = len(world.runs())
        wait_for(lambda: len(world.runs()) >= seen + 2)
        assert process.poll() is None
    finally:
        world.stop()
        store.close()


def epoch_of(store: Store) -> int:
    with store.session() as session:
        return session.exec(select(Leadership.epoch)).one()
