"""The demo as it is told: people use a desk that knows little, and it learns from them.

    before → customers rate and edit → curate, train, gate → canary → promoted → after
           → spoilers → train → the gate stops it → an operator overrides → rolled back

Real parts throughout: the service is `ratchet up`, the users are a process of their own that
knows only the public API. Run it by `make demo` or `ratchet demo`.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from rich.console import Console
from sqlmodel import col, select

from core.clock import utc_now
from core.errors import GateError, StateError
from core.logs import configure_logs
from curation.pipeline import EVERYTHING
from curation.selection import Selection
from feedback.tables import Adapter, DatasetVersion, Rollout, VerdictRecord
from loop.demo.crowd import Crowds, Told
from loop.demo.desk import load_desk
from loop.demo.evidence import (
    machine_facts,
    pick_samples,
    read_records,
    rollout_track,
    seen_answers,
)
from loop.demo.report import print_summary, write_demo_report
from loop.demo.result import (
    DemoResult,
    GoodAdapter,
    HeldoutShare,
    LossCurve,
    Outcome,
    SpoiledAdapter,
    shortcomings,
)
from loop.demo.stage import APPLICATION, PhaseClock, empty_folder, write_settings
from loop.narration import Narrator
from loop.service import Service, running_service
from loop.turn import (
    curate,
    ingest,
    plan_training,
    retrain,
    start_canary,
    tell_gate,
    wait_for_end,
)
from loop.wiring import Parts, open_parts
from monitoring.report import write_rollout_report
from retrain.registry.ledger import record_override
from retrain.runs.progress import read_losses

CUSTOMERS = 420  # before the training; each asks once
SPOILERS = 110
HELDOUT_OF_FACT = 2  # questions of each fact that are asked to measure
CONCURRENCY = 16
SAMPLES = 8
OPERATOR = "olga (operator)"
SYSTEM = "You answer questions for the Brindlemoor Cloud help desk in one short sentence."
# People in a hurry rate more often than this in a demo: fewer would only take longer.
HABITS = ["--questions-max", "1", "--rate-share", "0.8", "--edit-share", "0.6"]
ANSWERS = ["--max-tokens", "32"]


@dataclass
class Play:
    """What the demo holds while it runs."""

    folder: Path
    parts: Parts
    service: Service
    crowds: Crowds
    narrator: Narrator
    clock: PhaseClock
    users_so_far: int = 0

    def records(self, name: str) -> Path:
        """Return the file in which a crowd writes down its interactions."""
        return self.folder / "crowds" / f"{name}.jsonl"

    def customers(self, count: int | None = None) -> list[str]:
        """Return the arguments for the next customers, who have not been there before."""
        arguments = [*HABITS, *ANSWERS, "--offset", str(self.users_so_far)]
        if count is not None:
            self.users_so_far += count
            arguments += ["--max-users", str(count)]
        return arguments


def tell(folder: Path, model: Path, console: Console) -> bool:
    """Play the demo in `folder`, write its report; return whether all it promises was shown."""
    configure_logs(level="WARNING")
    empty_folder(folder)
    file, settings = write_settings(folder, model)
    (folder / "crowds").mkdir()
    narrator, clock = Narrator(console), PhaseClock()
    key = settings.applications[APPLICATION].api_key.get_secret_value()
    crowds = Crowds(settings.gateway.url, key, SYSTEM, folder / "crowds", CONCURRENCY)
    narrator.chapter("The service starts: vLLM, gateway, ingest, conductor")
    with open_parts(settings) as parts, running_service(settings, file) as service:
        play = Play(folder, parts, service, crowds, narrator, clock)
        with clock.phase("start"):
            _wait_for_service(play)
        result = _acts(play)
    page = write_demo_report(result, folder)
    print_summary(console, result)
    console.print(f"The whole report: {page}", soft_wrap=True)
    return not shortcomings(result)


def _acts(play: Play) -> DemoResult:
    """Play all acts in order and return what they came to."""
    before = _measure(play, "base", "before")
    _customers_come(play)
    good, good_rollout = _good_adapter(play)
    after = _measure(play, good.name, "after")
    spoiled, spoiled_rollout = _spoiled_adapter(play)
    return DemoResult(
        heldout=HeldoutShare(before["good_share"], after["good_share"], before["asked"]),
        good=_good_outcome(play, good, good_rollout),
        spoiled=_spoiled_outcome(play, spoiled, spoiled_rollout),
        phases=tuple(play.clock.phases),
        answers=seen_answers(_traffic_records(play), play.clock.began_unix_s),
        losses=tuple(_losses(play, adapter) for adapter in (good, spoiled)),
        samples=pick_samples(
            read_records(play.records("before")), read_records(play.records("after")), SAMPLES
        ),
        details=_details(play),
    )


def _wait_for_service(play: Play) -> None:
    with play.narrator.console.status("  starting") as status:
        play.service.wait_until_ready(
            lambda waited_s: status.update(f"  starting, {waited_s:.0f} s (vLLM: about 40 s)")
        )
    play.narrator.say(f"ready at {play.parts.settings.gateway.url}/v1")


@contextmanager
def _watching(play: Play) -> Generator[Told]:
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


def _measure(play: Play, model: str, name: str) -> dict[str, Any]:
    """Ask the held-out questions of exactly one model."""
    play.narrator.chapter(f"Held-out questions, {name}: what does {model} know?")
    limit = HELDOUT_OF_FACT * len(load_desk().facts)
    with play.clock.phase(f"held-out {name}"), _watching(play) as told:
        summary = play.crowds.ask_all(model, play.records(name), told, limit=limit)
    play.narrator.say(f"{model}: {summary['good_share']:.1%} good of {summary['asked']} questions")
    return summary


def _customers_come(play: Play) -> None:
    play.narrator.chapter("Customers ask, rate and edit; the base model answers")
    with play.clock.phase("customers"), _watching(play) as told:
        summary = play.crowds.serve(
            APPLICATION, play.records("customers"), told, play.customers(CUSTOMERS)
        )
    play.narrator.say(
        f"{summary['asked']} answers, {summary['good_share']:.1%} good; "
        f"{summary['rated']} rated, {summary['edited']} edited"
    )


def _good_adapter(play: Play) -> tuple[Adapter, Rollout]:
    """Turn the loop on what the customers said, up to the end of the watch."""
    play.narrator.chapter("Their feedback becomes a dataset, and the dataset an adapter")
    adapter = _train(play, "good")
    play.narrator.chapter(f"Canary: {adapter.name} must earn its traffic")
    with play.clock.phase("canary of the good adapter"):
        rollout = _expose(play, adapter, "canary-good")
    if rollout.state != "live":
        raise StateError(
            f"{adapter.name} was to be promoted but is {rollout.state}: {rollout.reason}"
        )
    return adapter, rollout


def _spoiled_adapter(play: Play) -> tuple[Adapter, Rollout]:
    """Train on what spoilers wrote; the gate stops it, an operator insists, users decide."""
    play.narrator.chapter("Spoilers praise and write wrong answers")
    began = utc_now() - timedelta(seconds=1)
    arguments = [*ANSWERS, "--persona", "spoiler", "--user-prefix", "spoiler"]
    arguments += ["--questions-max", "1", "--max-users", str(SPOILERS)]
    with play.clock.phase("spoilers"), _watching(play) as told:
        play.crowds.serve(APPLICATION, play.records("spoilers"), told, arguments)
    adapter = _train(play, "spoiled", Selection(since=began))
    try:
        start_canary(play.parts, adapter.name)
    except GateError as refusal:
        play.narrator.say(f"[bold]stopped:[/] {refusal.message}")
    else:
        raise StateError(f"the gate let the spoiled adapter {adapter.name} pass")
    play.narrator.chapter(f"{OPERATOR} overrides the gate; the canary judges {adapter.name}")
    adapter = _override(play, adapter)
    with play.clock.phase("canary of the spoiled adapter"):
        return adapter, _expose(play, adapter, "canary-spoiled")


def _train(play: Play, name: str, source: Selection = EVERYTHING) -> Adapter:
    ingest(play.parts)
    with play.clock.phase(f"curate {name}"):
        dataset = curate(play.parts, APPLICATION, play.narrator, source=source)
    plan = plan_training(play.parts, APPLICATION, dataset)
    play.narrator.say(plan.reason)
    with play.clock.phase(f"train and gate {name}"):
        adapter = retrain(play.parts, APPLICATION, dataset, plan, play.narrator)
    tell_gate(adapter, play.narrator)
    return adapter


def _expose(play: Play, adapter: Adapter, name: str) -> Rollout:
    """Let customers use the service until the adapter's rollout has ended."""
    rollout = start_canary(play.parts, adapter.name)
    with (
        _watching(play) as told,
        play.crowds.using(APPLICATION, play.records(name), told, play.customers()) as crowd,
    ):
        ended = wait_for_end(play.parts, rollout.id, play.narrator)
    play.users_so_far += crowd.latest["users"]
    return ended


def _override(play: Play, adapter: Adapter) -> Adapter:
    reason = "the demo shows that a canary stops what gets past the gate"
    with play.parts.store.session() as session:
        row = record_override(session, adapter.name, operator=OPERATOR, reason=reason)
        session.commit()
    play.narrator.say(f"override by {OPERATOR}: {reason}")
    return row


def _good_outcome(play: Play, adapter: Adapter, rollout: Rollout) -> GoodAdapter:
    verdicts = _verdicts(play, rollout)
    decisive = next(record for record in verdicts if record.decision == "promote")
    arms = decisive.numbers["arms"]
    return GoodAdapter(
        name=adapter.name,
        gate=adapter.gate["decision"],
        decision=_outcome(rollout),
        decided_by=rollout.decided_by,
        ratings_to_decision=arms["baseline"]["ratings"] + arms["canary"]["ratings"],
        reason=decisive.reason,
        track=rollout_track(rollout, verdicts, _rollout_report(play, rollout)),
    )


def _spoiled_outcome(play: Play, adapter: Adapter, rollout: Rollout) -> SpoiledAdapter:
    verdicts = _verdicts(play, rollout)
    return SpoiledAdapter(
        name=adapter.name,
        gate=adapter.gate["decision"],
        override_by=adapter.override_by,
        decision=_outcome(rollout),
        decided_by=rollout.decided_by,
        exposures_before_rollback=verdicts[-1].numbers["arms"]["canary"]["exposures"],
        reason=rollout.reason,
        track=rollout_track(rollout, verdicts, _rollout_report(play, rollout)),
    )


def _outcome(rollout: Rollout) -> Outcome:
    outcomes: dict[str, Outcome] = {
        "watch": "promoted",
        "live": "promoted",
        "rolled_back": "rolled_back",
        "inconclusive": "inconclusive",
    }
    return outcomes.get(rollout.state, "undecided")


def _verdicts(play: Play, rollout: Rollout) -> list[VerdictRecord]:
    with play.parts.store.session() as session:
        rows = select(VerdictRecord).where(VerdictRecord.rollout_id == rollout.id)
        return list(session.exec(rows.order_by(col(VerdictRecord.created_at))))


def _rollout_report(play: Play, rollout: Rollout) -> str:
    return write_rollout_report(play.parts.store, rollout.id, play.folder).name


def _losses(play: Play, adapter: Adapter) -> LossCurve:
    steps, losses = read_losses(play.parts.settings.folder("runs") / adapter.run_id)
    return LossCurve(adapter.name, steps, losses)


def _traffic_records(play: Play) -> list[dict[str, Any]]:
    names = ("customers", "canary-good", "spoilers", "canary-spoiled")
    return [record for name in names for record in read_records(play.records(name))]


def _details(play: Play) -> dict[str, Any]:
    with play.parts.store.session() as session:
        datasets = session.exec(select(DatasetVersion)).all()
    return {
        "machine": machine_facts(),
        "base_model": play.parts.settings.engine.model.name,
        "datasets": {d.id: f"{d.train_rows} train, {d.test_rows} test" for d in datasets},
        "canary": play.parts.settings.canary.model_dump(mode="json"),
    }
