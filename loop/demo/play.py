"""What the demo holds while it runs, and the moves that all its acts are made of.

A running service and a crowd go in; an act asks the crowd to come, waits for what the service does
of itself, and tells the narrator. `story.py` and `drift_act.py` know which act comes when.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlmodel import Session, col, select

from core.errors import StateError
from feedback.tables import Rollout, VerdictRecord
from loop.demo.crowd import Crowds, Told
from loop.demo.desk import DESK_FILE, TURN_FILE, load_desk
from loop.demo.evidence import rollout_track
from loop.demo.result import Outcome, RolloutTrack
from loop.demo.stage import APPLICATION, PhaseClock, set_automatic
from loop.demo.viewer import Viewer
from loop.narration import Narrator
from loop.service import Service
from loop.turn import wait_for_end
from loop.wiring import Parts
from monitoring.report import write_rollout_report

HELDOUT_OF_FACT = 2  # questions of each fact that are asked to measure
POLL_S = 0.5
# People in a hurry rate more often than this in a demo: fewer would only take longer.
HABITS = ["--questions-max", "1", "--rate-share", "0.8", "--edit-share", "0.6"]
ANSWERS = ["--max-tokens", "32"]

T = TypeVar("T")
Topic = Literal["known", "turn"]
Look = Callable[[Session], T | None]


@dataclass
class Play:
    """What the demo holds while it runs."""

    folder: Path
    settings_file: Path
    parts: Parts
    service: Service
    crowds: Crowds
    narrator: Narrator
    clock: PhaseClock
    viewer: Viewer
    users_so_far: int = 0
    turn_share: float = 0.0  # of what customers ask, since they turned to something new

    def records(self, name: str) -> Path:
        """Return the file in which a crowd writes down its interactions."""
        return self.folder / "crowds" / f"{name}.jsonl"

    def customers(self, count: int | None = None) -> list[str]:
        """Return the arguments for the next customers, who have not been there before."""
        arguments = [*HABITS, *ANSWERS, "--offset", str(self.users_so_far)]
        arguments += ["--turn-share", str(self.turn_share)]
        if count is not None:
            self.users_so_far += count
            arguments += ["--max-users", str(count)]
        return arguments

    @contextmanager
    def coming(self, name: str) -> Generator[None]:
        """Keep customers at work inside the block."""
        with (
            watching(self) as told,
            self.crowds.using(APPLICATION, self.records(name), told, self.customers()) as crowd,
        ):
            yield
        self.users_so_far += crowd.latest["users"]

    def train_by_itself(self, automatic: bool) -> None:
        """Let the service train by its policy, or no more; its scheduler is told."""
        set_automatic(self.settings_file, automatic)
        self.service.start_again("scheduler")

    def show(self, path: str, for_text: str) -> None:
        """Name a page of the console that shows something now, once it does."""
        self.narrator.tell(f"on the console: {self.viewer.look(path, for_text)}")


@contextmanager
def watching(play: Play) -> Generator[Told]:
    """Show how a crowd fares on one changing line; yields the function that is told of it."""
    with play.narrator.console.status("  the first users arrive") as status:
        yield lambda progress: status.update(f"  {_fares(progress)}")


def _fares(progress: dict[str, Any]) -> str:
    recent = progress["recent_good_share"]
    words = "" if recent is None else f", {recent:.0%} of the last answers good"
    adapters = ", ".join(f"{name} {n['asked']}" for name, n in progress["by_adapter"].items())
    return (
        f"{progress['asked']} asked ({adapters}), {progress['rated']} rated, "
        f"{progress['edited']} edited{words}"
    )


def measure(play: Play, model: str, name: str, topic: Topic = "known") -> dict[str, Any]:
    """Ask the held-out questions of exactly one model. Raises: StateError if it answers none."""
    about = "what does" if topic == "known" else "the new topic, what does"
    play.narrator.chapter(f"Held-out questions, {name}: {about} {model} know?")
    facts = load_desk(DESK_FILE if topic == "known" else TURN_FILE).facts
    limit = HELDOUT_OF_FACT * len(facts) if topic == "known" else None  # few facts: all questions
    with play.clock.phase(f"held-out {name}"), watching(play) as told:
        summary = play.crowds.ask_all(model, play.records(name), told, limit=limit, topic=topic)
    if summary["errors"] == summary["asked"]:
        raise StateError(f"{model} answered none of {summary['asked']} held-out questions")
    play.narrator.say(f"{model}: {summary['good_share']:.1%} good of {summary['asked']} questions")
    return summary


def expose(play: Play, rollout: Rollout, name: str) -> Rollout:
    """Let customers use the service until the rollout has ended."""
    with play.coming(name):
        return wait_for_end(play.parts, rollout.id, play.narrator)


def until(play: Play, look: Look[T], what: str, timeout_s: float) -> T:
    """Return what `look` finds in the store, once it finds something.

    Raises: StateError when that takes too long.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        with play.parts.store.session() as session:
            found = look(session)
        if found is not None:
            return found
        time.sleep(POLL_S)
    raise StateError(
        f"{what} did not come within {timeout_s:.0f} s: `ratchet jobs list` and "
        f"{play.parts.settings.data_dir / 'logs'} tell what the service did"
    )


def outcome(rollout: Rollout) -> Outcome:
    """Return what became of a rollout, in the report's words."""
    outcomes: dict[str, Outcome] = {
        "watch": "promoted",
        "live": "promoted",
        "rolled_back": "rolled_back",
        "inconclusive": "inconclusive",
    }
    return outcomes.get(rollout.state, "undecided")


def verdicts(play: Play, rollout: Rollout) -> list[VerdictRecord]:
    """Return the verdicts on a rollout, the oldest first."""
    with play.parts.store.session() as session:
        rows = select(VerdictRecord).where(VerdictRecord.rollout_id == rollout.id)
        return list(session.exec(rows.order_by(col(VerdictRecord.created_at))))


def track(play: Play, rollout: Rollout) -> RolloutTrack:
    """Return a rollout over time, with its own report beside the demo's."""
    page = write_rollout_report(play.parts.store, rollout.id, play.folder).name
    return rollout_track(rollout, verdicts(play, rollout), page)
