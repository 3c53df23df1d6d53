"""The conductor carries out what the rules and the verdict say, and writes everything down."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from core.clock import utc_now
from core.errors import GateError, NotFoundError, StateError
from core.ids import new_id
from core.settings import CanarySettings
from core.sticky import position
from feedback.events import ROLLOUTS_TOPIC, RolloutChanged, decode
from feedback.store import Store
from feedback.tables import (
    Adapter,
    AdapterReplica,
    Application,
    EngineReplica,
    Feedback,
    Interaction,
    Rollout,
    VerdictRecord,
)
from loop.conductor import Conductor
from tests.fakes.memory_log import MemoryLog
from tests.ready_store import ready_store
from tests.unit.loop_world import add_adapters

RULES = CanarySettings(
    shares=(0.5,),
    min_ratings=20,
    min_s=0,
    guardrails=("error", "latency"),
    error_tolerance=0.3,
    latency_tolerance=0.3,
    watch_s=0,
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """A store with the application `desk` and one gated and one failed adapter."""
    opened = ready_store(f"sqlite:///{tmp_path}/store.db")
    with opened.session() as session:
        session.add(Application(name="desk"))
        session.commit()
    add_adapters(opened)
    yield opened
    opened.close()


@pytest.fixture
def log() -> MemoryLog:
    """An empty event log."""
    return MemoryLog()


@pytest.fixture
def conductor(store: Store, log: MemoryLog) -> Conductor:
    """A conductor with rules that decide early."""
    return Conductor(store, log, RULES)


def say(
    store: Store, adapter: str, state: str, error: str | None = None, *, engine: str = "e"
) -> None:
    """Let an engine say something of an adapter."""
    with store.session() as session:
        session.merge(EngineReplica(engine=engine, state="up"))
        session.merge(AdapterReplica(adapter=adapter, engine=engine, state=state, error=error))
        session.commit()


def subject_in(rollout: Rollout, arm: str) -> str:
    """Return a new subject whom the gateway has in this arm, now and when the share has grown."""
    share = rollout.share if arm == "canary" else max(rollout.share, RULES.shares[-1])
    while True:
        subject = new_id()
        if (position("desk", rollout.salt, subject) < share) == (arm == "canary"):
            return subject


def rate(store: Store, rollout: Rollout, *, arm: str, good: int, bad: int) -> None:
    """Add one exposure and one rating each of so many new subjects."""
    with store.session() as session:
        for index in range(good + bad):
            interaction = Interaction(
                id=new_id(),
                event_id=new_id(),
                application="desk",
                subject=subject_in(rollout, arm),
                arm=arm,
                rollout_id=rollout.id,
                step=rollout.step,
                endpoint="/v1/chat/completions",
                requested_model="desk",
                latency_s=0.1,
                started_at=utc_now(),
            )
            vote = Feedback(
                event_id=new_id(),
                client_id=new_id(),
                interaction_id=interaction.id,
                application="desk",
                subject=interaction.subject,
                kind="thumbs",
                thumbs=index < good,
                given_at=utc_now(),
            )
            session.add_all([interaction, vote])
        session.commit()


def exposed(store: Store, conductor: Conductor, adapter: str = "desk--v1") -> Rollout:
    """Return a rollout that has reached its first canary step."""
    rollout = conductor.start(adapter)
    say(store, adapter, "ready")
    return conductor.check(rollout.id)


def test_an_adapter_that_failed_the_gate_is_not_started(conductor: Conductor) -> None:
    """The error names the gate's reason."""
    with pytest.raises(GateError, match="loss is up"):
        conductor.start("desk--v2")


def test_an_override_lets_a_failed_adapter_start(store: Store, conductor: Conductor) -> None:
    """A named operator with a reason may insist."""
    with store.session() as session:
        adapter = session.get_one(Adapter, "desk--v2")
        adapter.override_by, adapter.override_reason = "olga", "to see"
        session.add(adapter)
        session.commit()
    assert conductor.start("desk--v2").state == "shadow"


def test_an_unknown_adapter_is_named(conductor: Conductor) -> None:
    """The error says what was asked for."""
    with pytest.raises(NotFoundError, match="desk--v9"):
        conductor.start("desk--v9")


def test_an_application_has_one_rollout_at_a_time(conductor: Conductor) -> None:
    """A second start names the first rollout."""
    first = conductor.start("desk--v1")
    with pytest.raises(StateError, match=first.id):
        conductor.start("desk--v1")


def test_a_better_canary_is_promoted_and_goes_live(store: Store, conductor: Conductor) -> None:
    """Ratings alone lead from canary over the watch to live, decided by nobody by hand."""
    rollout = exposed(store, conductor)
    assert rollout.state == "canary"
    rate(store, rollout, arm="baseline", good=4, bad=36)
    rate(store, rollout, arm="canary", good=36, bad=4)
    assert conductor.check(rollout.id).state == "watch"
    ended = conductor.check(rollout.id)
    assert (ended.state, ended.decided_by) == ("live", "conductor")
    with store.session() as session:
        assert session.get_one(Application, "desk").live_adapter == "desk--v1"
        assert session.get_one(Adapter, "desk--v1").status == "live"


def test_a_worse_canary_is_rolled_back(store: Store, conductor: Conductor) -> None:
    """The application keeps what it had."""
    rollout = exposed(store, conductor)
    rate(store, rollout, arm="baseline", good=36, bad=4)
    rate(store, rollout, arm="canary", good=4, bad=36)
    ended = conductor.check(rollout.id)
    assert ended.state == "rolled_back"
    assert ended.finished_at is not None
    with store.session() as session:
        assert session.get_one(Application, "desk").live_adapter is None
        assert session.get_one(Adapter, "desk--v1").status == "rolled_back"


def test_the_watch_can_still_reverse_a_promotion(store: Store, log: MemoryLog) -> None:
    """After a promotion the holdback shows harm, and the old adapter is live again."""
    conductor = Conductor(store, log, RULES.model_copy(update={"watch_s": 3_600.0}))
    rollout = exposed(store, conductor)
    promoted = conductor.promote(rollout.id, operator="olga", reason="in a hurry")
    assert (promoted.state, promoted.decided_by) == ("watch", "olga")
    rate(store, promoted, arm="baseline", good=36, bad=4)
    rate(store, promoted, arm="canary", good=4, bad=36)
    assert conductor.check(rollout.id).state == "rolled_back"
    with store.session() as session:
        assert session.get_one(Application, "desk").live_adapter is None


def test_an_operator_pauses_and_resumes(store: Store, conductor: Conductor) -> None:
    """While it is paused nothing is judged; then it goes on at the same step."""
    rollout = exposed(store, conductor)
    paused = conductor.pause(rollout.id, operator="olga", reason="an incident")
    assert (paused.state, paused.share, paused.decided_by) == ("paused", 0.0, "olga")
    rate(store, rollout, arm="baseline", good=36, bad=4)
    rate(store, rollout, arm="canary", good=4, bad=36)
    assert conductor.check(rollout.id).state == "paused"
    with pytest.raises(StateError, match="paused"):
        conductor.pause(rollout.id, operator="olga", reason="again")
    resumed = conductor.resume(rollout.id, operator="olga", reason="it is over")
    assert (resumed.state, resumed.step, resumed.share) == ("canary", 0, 0.5)
    assert conductor.check(rollout.id).state == "rolled_back"


def test_a_sample_ratio_mismatch_pauses_by_itself(store: Store, log: MemoryLog) -> None:
    """The better canary is not promoted; when somebody has looked, it can be."""
    conductor = Conductor(store, log, RULES)
    rollout = exposed(store, conductor)
    rate(store, rollout, arm="baseline", good=10, bad=110)
    rate(store, rollout, arm="canary", good=27, bad=3)
    paused = conductor.check(rollout.id)
    assert (paused.state, paused.decided_by) == ("paused", "conductor")
    assert paused.reason.startswith("sample ratio mismatch")
    conductor.resume(rollout.id, operator="olga", reason="a gateway was restarted")
    assert conductor.check(rollout.id).state == "watch"


def test_a_refusing_engine_ends_the_rollout(store: Store, conductor: Conductor) -> None:
    """The engine's words are the reason."""
    rollout = conductor.start("desk--v1")
    say(store, "desk--v1", "refused", "no such file")
    ended = conductor.check(rollout.id)
    assert ended.state == "rolled_back"
    assert "no such file" in ended.reason


def test_an_operator_rolls_back_with_a_reason(store: Store, conductor: Conductor) -> None:
    """Name and reason are kept; a second time there is nothing left to roll back."""
    rollout = exposed(store, conductor)
    ended = conductor.roll_back(rollout.id, operator="olga", reason="a complaint")
    assert (ended.state, ended.decided_by, ended.reason) == ("rolled_back", "olga", "a complaint")
    with pytest.raises(StateError, match="rolled_back"):
        conductor.roll_back(rollout.id, operator="olga", reason="again")


def test_every_move_is_an_event(store: Store, log: MemoryLog, conductor: Conductor) -> None:
    """The log tells the rollout's story in order."""
    rollout = exposed(store, conductor)
    conductor.roll_back(rollout.id, operator="olga", reason="enough")
    events = [decode(r.topic, r.value) for r in log.read(ROLLOUTS_TOPIC, after=0, limit=10)]
    states = [event.state for event in events if isinstance(event, RolloutChanged)]
    assert states == ["shadow", "canary", "rolled_back"]


def test_a_verdict_is_kept_once_for_equal_counts(store: Store, conductor: Conductor) -> None:
    """Checking again without news adds no row; news do."""
    rollout = exposed(store, conductor)
    conductor.check(rollout.id)
    conductor.check(rollout.id)
    rate(store, rollout, arm="canary", good=1, bad=0)
    conductor.check(rollout.id)
    with store.session() as session:
        records = session.exec(select(VerdictRecord)).all()
    assert len(records) == 2


def test_all_active_rollouts_are_checked(store: Store, conductor: Conductor) -> None:
    """One call moves whatever can move, and leaves what has ended alone."""
    rollout = conductor.start("desk--v1")
    say(store, "desk--v1", "ready")
    conductor.check_all()
    with store.session() as session:
        assert session.get_one(Rollout, rollout.id).state == "canary"
    conductor.roll_back(rollout.id, operator="olga", reason="enough")
    conductor.check_all()
    assert conductor.check(rollout.id).state == "rolled_back"


def test_a_canary_past_its_deadline_is_inconclusive(store: Store, conductor: Conductor) -> None:
    """Without evidence the baseline stays."""
    rollout = exposed(store, conductor)
    with store.session() as session:
        row = session.get_one(Rollout, rollout.id)
        row.state_since = utc_now() - timedelta(days=30)
        session.add(row)
        session.commit()
    assert conductor.check(rollout.id).state == "inconclusive"


def test_a_rollout_waits_until_every_engine_is_ready(store: Store, conductor: Conductor) -> None:
    """Two engines are up, one is still loading; one that is down is not waited for."""
    rollout = conductor.start("desk--v1")
    say(store, "desk--v1", "ready", engine="one")
    say(store, "desk--v1", "loading", engine="two")
    with store.session() as session:
        session.add(EngineReplica(engine="three", state="down"))
        session.commit()
    assert conductor.check(rollout.id).state == "shadow"
    say(store, "desk--v1", "ready", engine="two")
    assert conductor.check(rollout.id).state == "canary"


def test_a_rollout_waits_for_its_shadow_pairs(store: Store, log: MemoryLog) -> None:
    """Answers that nobody saw are counted as pairs, and as nothing else."""
    conductor = Conductor(store, log, RULES.model_copy(update={"shadow_min_pairs": 2}))
    rollout = conductor.start("desk--v1")
    say(store, "desk--v1", "ready")
    assert conductor.check(rollout.id).state == "shadow"
    with store.session() as session:
        for number in range(2):
            session.add(
                Interaction(
                    id=new_id(),
                    event_id=new_id(),
                    application="desk",
                    arm="canary",
                    rollout_id=rollout.id,
                    shadow_of=f"seen-{number}",
                    endpoint="/v1/chat/completions",
                    requested_model="desk",
                    latency_s=0.1,
                    started_at=utc_now(),
                )
            )
        session.commit()
    moved = conductor.check(rollout.id)
    assert (moved.state, "2 requests in shadow" in moved.reason) == ("canary", True)
    conductor.check(rollout.id)
    with store.session() as session:
        (record,) = session.exec(select(VerdictRecord)).all()
    assert record.counts["steps"] == []
