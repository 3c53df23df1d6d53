"""A disk without room under the spools: refused or served unlogged, as set, and nothing is lost."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.small_disk import small_disk
from tests.stack.fault_world import FaultWorld, fault_world
from tests.stack.promises import API_KEY, APPLICATION

pytestmark = pytest.mark.stack

DISK_BYTES = 16 << 20
RATE_PER_S = 40.0


def _fill(spool_dir: Path) -> Path:
    """Take all room there is; deleting the file gives it back."""
    ballast = spool_dir / "ballast"
    with ballast.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 12, 1):
            try:
                while True:
                    file.write(b"\0" * size)
            except OSError:
                continue
    return ballast


def _ballot(world: FaultWorld) -> dict[str, Any]:
    """Return a vote on an answer that was just given, not yet sent."""
    body = {"model": APPLICATION, "messages": [{"role": "user", "content": "?"}], "user": "ann"}
    headers = {"authorization": f"Bearer {API_KEY}"}
    answer = httpx.post(f"{world.url}/v1/chat/completions", json=body, headers=headers)
    receipt = answer.headers["x-ratchet-receipt"]
    return {"receipt": receipt, "kind": "thumbs", "value": True, "id": "ann's"}


def _vote(world: FaultWorld, vote: dict[str, Any]) -> int:
    return httpx.post(f"{world.url}/v1/feedback", json=vote).status_code


def _wait_for(world: FaultWorld, load_status: str, statuses: dict[str, int]) -> None:
    seen = statuses.get(load_status, 0)
    world.wait_until(lambda: statuses.get(load_status, 0) > seen + 5, what=load_status)


def test_a_full_disk_refuses_and_recovers_by_itself(tmp_path: Path) -> None:
    """503 for answers and feedback while it is full; then all goes on, and no promise is lost."""
    with (
        small_disk(tmp_path / "data" / "spool", DISK_BYTES),
        fault_world(tmp_path, segment_bytes=1 << 18) as world,
        world.load(RATE_PER_S) as load,
    ):
        _wait_for(world, "asked 200", load.promises.statuses)
        vote = _ballot(world)
        ballast = _fill(world.spool_dir)
        _wait_for(world, "asked 503", load.promises.statuses)
        assert _vote(world, vote) == 503
        assert world.health()["unlogged"] > 0
        ballast.unlink()
        world.wait_until(lambda: _vote(world, vote) == 201, what="a vote's 201")
        _wait_for(world, "asked 200", load.promises.statuses)
        load.end()
        assert all(vote.acknowledged for sent in load.promises.votes.values() for vote in sent)
        world.require_kept(load.promises, why="after the disk was full")


def test_a_full_disk_may_be_served_without_a_log(tmp_path: Path) -> None:
    """With `serve_unlogged` everyone is answered; the gateway counts what nobody can rate."""
    with (
        small_disk(tmp_path / "data" / "spool", DISK_BYTES),
        fault_world(tmp_path, segment_bytes=1 << 18, full_policy="serve_unlogged") as world,
    ):
        with world.load(RATE_PER_S) as load:
            _wait_for(world, "asked 200", load.promises.statuses)
        world.require_kept(load.promises, why="before the disk was full")
        ballast = _fill(world.spool_dir)
        with world.load(RATE_PER_S, seed=1) as unlogged:
            _wait_for(world, "asked 200", unlogged.promises.statuses)
            world.wait_until(lambda: world.health()["unlogged"] > 0, what="the counter")
            ballast.unlink()
        assert {s for s in unlogged.promises.statuses if s.startswith("asked")} == {"asked 200"}
        with world.load(RATE_PER_S, seed=2) as after:
            _wait_for(world, "asked 200", after.promises.statuses)
        world.require_kept(after.promises, why="after the disk was full")
