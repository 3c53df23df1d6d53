"""The demo as it is told: people use a desk that knows little, and it learns from them.

    before → customers rate and edit → curate, train, gate → canary → promoted → after
           → customers turn to a new topic → drift → the service retrains → promoted (`drift_act`)
           → spoilers → train → the gate stops it → an operator overrides → rolled back

Real parts throughout: the service is `ratchet up`, the users are a process of their own that
knows only the public API. Run it by `make demo` or `ratchet demo`.
"""

from __future__ import annotations

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
from feedback.tables import Adapter, DatasetVersion, Rollout
from loop.demo.crowd import Crowds
from loop.demo.drift_act import customers_turn
from loop.demo.evidence import machine_facts, pick_samples, read_records, seen_answers
from loop.demo.play import ANSWERS, Play, expose, measure, outcome, track, verdicts, watching
from loop.demo.report import print_summary, write_demo_report
from loop.demo.result import (
    DemoResult,
    GoodAdapter,
    HeldoutShare,
    LossCurve,
    SpoiledAdapter,
    shortcomings,
)
from loop.demo.stage import APPLICATION, PhaseClock, empty_folder, write_settings
from loop.demo.viewer import NAME, a_viewer
from loop.narration import Narrator
from loop.service import running_service
from loop.turn import curate, ingest, plan_training, retrain, start_canary, tell_gate
from loop.wiring import open_parts
from retrain.registry.ledger import record_override
from retrain.runs.progress import read_losses

CUSTOMERS = 420  # before the training; each asks once
SPOILERS = 110
CONCURRENCY = 16
SAMPLES = 8
OPERATOR = "olga (operator)"
SYSTEM = "You answer questions for the Brindlemoor Cloud help desk in one short sentence."


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
        viewer = a_viewer(parts.store, settings.console.url)
        play = Play(folder, file, parts, service, crowds, narrator, clock, viewer)
        with clock.phase("start"):
            _wait_for_service(play)
        result = _acts(play)
    page = write_demo_report(result, folder)
    print_summary(console, result)
    console.print(f"The whole report: {page}", soft_wrap=True)
    return not shortcomings(result)


def _acts(play: Play) -> DemoResult:
    """Play all acts in order and return what they came to."""
    before = measure(play, "base", "before")
    _customers_come(play)
    good, good_rollout = _good_adapter(play)
    after = measure(play, good.name, "after")
    drift = customers_turn(play, good, after["good_share"])
    spoiled, spoiled_rollout = _spoiled_adapter(play)
    return DemoResult(
        heldout=HeldoutShare(before["good_share"], after["good_share"], before["asked"]),
        good=_good_outcome(play, good, good_rollout),
        drift=drift,
        spoiled=_spoiled_outcome(play, spoiled, spoiled_rollout),
        phases=tuple(play.clock.phases),
        answers=seen_answers(_traffic_records(play), play.clock.began_unix_s),
        losses=tuple(_losses(play, adapter) for adapter in _learners(play)),
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
    settings = play.parts.settings
    play.narrator.say(f"ready at {settings.gateway.url}/v1")
    play.narrator.tell(
        f"watch it at {settings.console.url}: sign in as {NAME} with {play.viewer.password}"
    )


def _customers_come(play: Play) -> None:
    play.narrator.chapter("Customers ask, rate and edit; the base model answers")
    with play.clock.phase("customers"), watching(play) as told:
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
        rollout = expose(play, start_canary(play.parts, adapter.name), "canary-good")
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
    with play.clock.phase("spoilers"), watching(play) as told:
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
        return adapter, expose(play, start_canary(play.parts, adapter.name), "canary-spoiled")


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


def _override(play: Play, adapter: Adapter) -> Adapter:
    reason = "the demo shows that a canary stops what gets past the gate"
    with play.parts.store.session() as session:
        row = record_override(session, adapter.name, operator=OPERATOR, reason=reason)
        session.commit()
    play.narrator.say(f"override by {OPERATOR}: {reason}")
    return row


def _good_outcome(play: Play, adapter: Adapter, rollout: Rollout) -> GoodAdapter:
    records = verdicts(play, rollout)
    decisive = next(record for record in records if record.decision == "promote")
    arms = decisive.numbers["arms"]
    return GoodAdapter(
        name=adapter.name,
        gate=adapter.gate["decision"],
        decision=outcome(rollout),
        decided_by=rollout.decided_by,
        ratings_to_decision=arms["baseline"]["ratings"] + arms["canary"]["ratings"],
        reason=decisive.reason,
        track=track(play, rollout),
    )


def _spoiled_outcome(play: Play, adapter: Adapter, rollout: Rollout) -> SpoiledAdapter:
    records = verdicts(play, rollout)
    return SpoiledAdapter(
        name=adapter.name,
        gate=adapter.gate["decision"],
        override_by=adapter.override_by,
        decision=outcome(rollout),
        decided_by=rollout.decided_by,
        exposures_before_rollback=records[-1].numbers["arms"]["canary"]["exposures"],
        reason=rollout.reason,
        track=track(play, rollout),
    )


def _learners(play: Play) -> list[Adapter]:
    """Return the adapters that the demo trained, in their order."""
    with play.parts.store.session() as session:
        return list(session.exec(select(Adapter).order_by(col(Adapter.created_at))))


def _losses(play: Play, adapter: Adapter) -> LossCurve:
    steps, losses = read_losses(play.parts.settings.folder("runs") / adapter.run_id)
    return LossCurve(adapter.name, steps, losses)


def _traffic_records(play: Play) -> list[dict[str, Any]]:
    first, turned = ("customers", "canary-good"), ("calm", "turn", "canary-turn")
    names = (*first, *turned, "spoilers", "canary-spoiled")
    return [record for name in names for record in read_records(play.records(name))]


def _details(play: Play) -> dict[str, Any]:
    with play.parts.store.session() as session:
        datasets = session.exec(select(DatasetVersion)).all()
    return {
        "machine": machine_facts(),
        "base_model": play.parts.settings.engine.model.name,
        "datasets": {d.id: f"{d.train_rows} train, {d.test_rows} test" for d in datasets},
        "canary": play.parts.settings.canary.model_dump(mode="json"),
        "console_seconds": play.viewer.seen,
    }
