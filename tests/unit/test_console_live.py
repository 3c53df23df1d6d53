"""What keeps pages live: one look for all of them, none while nobody watches."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedback.store import Store
from feedback.tables import Rollout
from loop.console.engine_use import engine_use, parse_use
from loop.console.kept import Kept
from loop.console.live import Live
from loop.console.sessions import Sessions
from tests.unit.console_story import ENGINE, ROLLOUT, tell
from tests.unit.console_world import Console, opened


@pytest.fixture
def console(tmp_path: Path) -> Iterator[Console]:
    """A console whose shop has turned the loop for a week."""
    with opened(tmp_path) as console:
        tell(console.store, tmp_path / "runs")
        yield console


class Open(Sessions):
    """Sessions of which one is open until it is closed."""

    def __init__(self) -> None:
        self.is_open = True

    def holder(self, session: Any) -> Any:
        """Return somebody while it is open."""
        return session if self.is_open else None


async def words(live: Live, topics: tuple[str, ...], told: list[str]) -> None:
    """Note what a stream says until it ends."""
    async for message in live.stream(topics, {"id": "1"}):
        told.append(message.event or "quiet")


def move(store: Store) -> None:
    """Change what the pages of rollouts show."""
    with store.session() as session:
        row = session.get_one(Rollout, ROLLOUT)
        row.step_since = row.step_since.replace(year=2027)
        session.commit()


async def test_all_streams_share_one_look(console: Console) -> None:
    """Those that show what changed are told, once; all end with the session."""
    sessions = Open()
    live = Live(console.store, sessions, 0.05)
    async with live.running():
        await asyncio.sleep(0.2)
        assert live.looks == 0, "nobody watches"
        told: list[list[str]] = [[], [], []]
        topics = (("rollouts",), ("rollouts", "runs"), ("hours",))
        pairs = zip(topics, told, strict=True)
        tasks = [asyncio.create_task(words(live, own, said)) for own, said in pairs]
        await asyncio.sleep(0.3)
        assert live.watching == 3
        await asyncio.to_thread(move, console.store)
        await asyncio.sleep(0.5)
        assert live.looks <= 20, "three streams, one look a tick"
        sessions.is_open = False
        await asyncio.gather(*tasks)
    assert [said[:2] for said in told] == [
        *(["live", "changed"], ["live", "changed"], ["live", "ended"])
    ]
    assert (live.watching, {said[-1] for said in told}) == (0, {"ended"})


async def test_a_stream_ends_when_the_console_stops(console: Console) -> None:
    """Otherwise the server would wait for it."""
    live = Live(console.store, Open(), 0.02)
    told: list[str] = []
    async with live.running():
        task = asyncio.create_task(words(live, ("runs",), told))
        await asyncio.sleep(0.1)
        live.is_ending = lambda: True
        await asyncio.wait_for(task, 5)
    assert told == ["live"]


def test_a_value_is_computed_once_and_renewed_beside() -> None:
    """The first one may wait, but never long; who comes later gets the last value at once."""
    computed: list[str] = []
    goes_on = threading.Event()

    def compute(name: str) -> int:
        computed.append(name)
        return len(computed)

    kept = Kept(compute, every_s=60.0)
    assert [kept.known(name, wait_s=20.0) for name in ("a", "a", "b")] == [1, 1, 2]
    slow = Kept(lambda _: goes_on.wait(20.0), every_s=60.0)
    assert slow.known("c", wait_s=0.01) is None
    goes_on.set()


def test_an_engine_says_how_busy_it_is() -> None:
    """By vLLM's own names; one that does not answer, or says none of it, is not known."""
    text = (
        '# HELP vllm:num_requests_running x\nvllm:num_requests_running{engine="0"} 3.0\n'
        'vllm:num_requests_waiting{engine="0"} 1.0\nvllm:kv_cache_usage_perc{engine="0"} 0.25\n'
    )
    use = parse_use(text)
    assert use is not None
    assert (use.running, use.waiting, use.cache) == (3, 1, 0.25)
    assert parse_use("other 1") is None
    assert engine_use(ENGINE) is None
