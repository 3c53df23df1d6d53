"""CANARY → PROMOTE: reads what monitoring judged and moves each rollout by the stage rules.

In come rollout rows, exposures and votes (through monitoring's counts) and the engines' word
on the adapter; out go the next rollout row, the adapter's status, the application's live
adapter, a verdict record and an event in the log. Decisions are `loop.stages` and
`monitoring.verdict`; this module only carries them out. Run it by `ratchet canary run`.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

import structlog
from sqlalchemy import func
from sqlmodel import Session, col, select

from core.canary_settings import CanarySettings, rules_of
from core.clock import as_utc, utc_now
from core.errors import NotFoundError, StateError
from core.files import json_sha256
from core.ids import new_id
from feedback.audit import HumanAct, record
from feedback.events import ROLLOUTS_TOPIC, RolloutChanged, encode
from feedback.log.protocol import EventLog, NewRecord
from feedback.store import Store
from feedback.tables import (
    Adapter,
    AdapterReplica,
    Application,
    EngineReplica,
    Interaction,
    Rollout,
    VerdictRecord,
)
from loop.stages import (
    ACTIVE_STATES,
    JUDGED_STATES,
    Move,
    Observation,
    Position,
    ReplicaWord,
    next_move,
    pause,
    promotion,
    readiness,
    resumption,
    rollback,
)
from monitoring.arms import RolloutCounts, counts_to_dict
from monitoring.counts import count_rollout
from monitoring.verdict import Verdict, judge, judge_watch
from retrain.registry.ledger import require_gate_or_override

CONDUCTOR = "conductor"  # `decided_by` of a decision that no person took
PROMOTED_BY_HAND = frozenset({"canary", "paused"})  # from the states in which it is possible

ByHand = Callable[[Position, CanarySettings], Move]

log = structlog.get_logger()


@dataclass(frozen=True)
class Conductor:
    """Starts, judges and moves rollouts; a new one lives by `rules`, the others by their own."""

    store: Store
    events: EventLog
    rules: CanarySettings

    def start(self, adapter_name: str, *, started_by: str = CONDUCTOR) -> Rollout:
        """Put a gated (or overridden) adapter on its way: a new rollout in state shadow.

        Raises: NotFoundError, GateError, StateError when the application has a rollout already.
        """
        with self.store.session() as session:
            adapter = session.get(Adapter, adapter_name)
            if adapter is None:
                raise NotFoundError(
                    f"no adapter {adapter_name!r}: `ratchet adapter list` lists them"
                )
            require_gate_or_override(adapter)
            _require_no_active_rollout(session, adapter.application)
            application = session.get_one(Application, adapter.application)
            rollout = Rollout(
                id=new_id(),
                application=adapter.application,
                baseline_adapter=application.live_adapter,
                canary_adapter=adapter.name,
                state="shadow",
                salt=secrets.token_hex(8),
                settings=self.rules.model_dump(mode="json"),
                decided_by=started_by,
                reason="started",
            )
            adapter.status = "canary"
            session.add_all([rollout, adapter])
            self._announce(rollout, utc_now())
            session.commit()
        log.info("rollout_started", rollout=rollout.id, adapter=adapter_name)
        return rollout

    def check_all(self) -> None:
        """Judge and, where the rules say so, move every active rollout."""
        with self.store.session() as session:
            active = session.exec(select(Rollout.id).where(col(Rollout.finished_at).is_(None)))
            rollout_ids = list(active)
        for rollout_id in rollout_ids:
            self.check(rollout_id)

    def check(self, rollout_id: str) -> Rollout:
        """Judge one rollout now and return it as it stands after that."""
        with self.store.session() as session:
            rollout = _rollout(session, rollout_id)
            if rollout.state not in ACTIVE_STATES:
                return rollout
            rules = rules_of(rollout.settings)
            seen = self._observe(session, rollout, rules)
            now = utc_now()
            move = next_move(_position(rollout), seen, rules, now)
            if move is not None:
                self._apply(session, rollout, move, decided_by=CONDUCTOR, now=now)
            session.commit()
            return rollout

    def promote(self, rollout_id: str, *, operator: str, reason: str) -> Rollout:
        """Promote by hand; the row says who and why."""

        def move(_position: Position, rules: CanarySettings) -> Move:
            return promotion(rules, reason)

        return self._by_hand(rollout_id, PROMOTED_BY_HAND, operator, "rollout_promoted", move)

    def roll_back(self, rollout_id: str, *, operator: str, reason: str) -> Rollout:
        """Roll back by hand; the row says who and why."""

        def move(_position: Position, _rules: CanarySettings) -> Move:
            return rollback(0, reason)

        return self._by_hand(rollout_id, ACTIVE_STATES, operator, "rollout_rolled_back", move)

    def pause(self, rollout_id: str, *, operator: str, reason: str) -> Rollout:
        """Send everyone to the baseline until somebody resumes it, promotes it or rolls it back."""

        def move(position: Position, _rules: CanarySettings) -> Move:
            return pause(position, reason)

        return self._by_hand(rollout_id, JUDGED_STATES, operator, "rollout_paused", move)

    def resume(self, rollout_id: str, *, operator: str, reason: str) -> Rollout:
        """Go on where it was paused; its clock and the sample-ratio test start anew."""

        def move(position: Position, rules: CanarySettings) -> Move:
            return resumption(position, rules, reason)

        return self._by_hand(rollout_id, {"paused"}, operator, "rollout_resumed", move)

    def run(self, stop: threading.Event) -> None:
        """Check all rollouts again and again until `stop` is set."""
        while not stop.wait(self.rules.check_every_s):
            self.check_all()

    def _by_hand(
        self, rollout_id: str, allowed: Collection[str], operator: str, action: str, moved: ByHand
    ) -> Rollout:
        with self.store.session() as session:
            rollout = _rollout(session, rollout_id)
            if rollout.state not in allowed:
                raise StateError(
                    f"rollout {rollout_id} is {rollout.state}; "
                    f"this needs one of: {', '.join(sorted(allowed))}"
                )
            move = moved(_position(rollout), rules_of(rollout.settings))
            self._apply(session, rollout, move, decided_by=operator, now=utc_now())
            record(session, human_move(rollout, action))
            session.commit()
            return rollout

    def _observe(self, session: Session, rollout: Rollout, rules: CanarySettings) -> Observation:
        ready, refused = _readiness(session, rollout, rules)
        if rollout.state not in JUDGED_STATES:
            pairs = _count_shadow_pairs(session, rollout.id)
            return Observation(ready, refused, "hold", "not exposed yet", 0, pairs)
        counts = count_rollout(session, rollout, rules)
        verdict = _judge(rollout, counts, rules, refused)
        _record(session, rollout, counts, verdict)
        here = (s.canary.exposures for s in counts.steps if s.step == rollout.step)
        return Observation(
            ready, refused, verdict.decision, verdict.reason, sum(here), pause=verdict.pause
        )

    def _apply(
        self, session: Session, rollout: Rollout, move: Move, *, decided_by: str, now: datetime
    ) -> None:
        if move.state != rollout.state:
            rollout.state_since = now
        rollout.state, rollout.step, rollout.share = move.state, move.step, move.share
        rollout.step_since = now
        rollout.decided_by, rollout.reason = decided_by, move.reason
        rollout.finished_at = None if move.state in ACTIVE_STATES else now
        session.add(rollout)
        _move_adapters(session, rollout, now)
        self._announce(rollout, now)
        log.info(
            "rollout_moved",
            rollout=rollout.id,
            state=rollout.state,
            step=rollout.step,
            share=rollout.share,
            decided_by=decided_by,
        )

    def _announce(self, rollout: Rollout, now: datetime) -> None:
        event = RolloutChanged(
            event_id=new_id(),
            rollout_id=rollout.id,
            application=rollout.application,
            state=rollout.state,
            step=rollout.step,
            share=rollout.share,
            decided_by=rollout.decided_by,
            reason=rollout.reason,
            changed_at=now,
        )
        self.events.append([NewRecord(ROLLOUTS_TOPIC, rollout.id, encode(event))])


def human_move(rollout: Rollout, action: str) -> HumanAct:
    """Return the audit entry of a move that a person decided, from the row after it."""
    details = {"adapter": rollout.canary_adapter, "state": rollout.state, "share": rollout.share}
    place = ("rollout", rollout.id, rollout.application)
    return HumanAct(rollout.decided_by, action, *place, rollout.reason, details)


def _rollout(session: Session, rollout_id: str) -> Rollout:
    rollout = session.get(Rollout, rollout_id)
    if rollout is None:
        raise NotFoundError(f"no rollout {rollout_id!r}: `ratchet canary list` shows them")
    return rollout


def _require_no_active_rollout(session: Session, application: str) -> None:
    active = session.exec(
        select(Rollout).where(
            Rollout.application == application, col(Rollout.finished_at).is_(None)
        )
    ).first()
    if active is not None:
        raise StateError(
            f"{application} already has rollout {active.id} ({active.canary_adapter}, "
            f"{active.state}): wait for its decision or run `ratchet rollback {active.id}`"
        )


def _readiness(
    session: Session, rollout: Rollout, rules: CanarySettings
) -> tuple[bool, str | None]:
    """Return whether the engines that are up have the canary's adapter, and why they refuse it."""
    up = session.exec(select(EngineReplica.engine).where(EngineReplica.state == "up")).all()
    replicas = session.exec(
        select(AdapterReplica).where(AdapterReplica.adapter == rollout.canary_adapter)
    ).all()
    return readiness(up, {r.engine: ReplicaWord(r.state, r.error) for r in replicas}, rules)


def _count_shadow_pairs(session: Session, rollout_id: str) -> int:
    """Count the requests that the canary answered unseen beside the user's answer."""
    return session.exec(
        select(func.count()).where(
            Interaction.rollout_id == rollout_id, col(Interaction.shadow_of).is_not(None)
        )
    ).one()


def _position(rollout: Rollout) -> Position:
    return Position(
        rollout.state, rollout.step, as_utc(rollout.state_since), as_utc(rollout.step_since)
    )


def _judge(
    rollout: Rollout, counts: RolloutCounts, rules: CanarySettings, refused: str | None
) -> Verdict:
    if rollout.state == "watch":
        return judge_watch(counts, rules, refused=refused)
    elapsed_s = (utc_now() - as_utc(rollout.state_since)).total_seconds()
    return judge(counts, rules, elapsed_s=elapsed_s, refused=refused)


def _record(session: Session, rollout: Rollout, counts: RolloutCounts, verdict: Verdict) -> None:
    """Store the verdict, unless nothing has changed since the last one."""
    last = session.exec(
        select(VerdictRecord)
        .where(VerdictRecord.rollout_id == rollout.id)
        .order_by(col(VerdictRecord.created_at).desc())
        .limit(1)
    ).first()
    plain = counts_to_dict(counts)
    if last is not None and last.counts == plain and last.decision == verdict.decision:
        return
    session.add(
        VerdictRecord(
            id=new_id(),
            rollout_id=rollout.id,
            state=rollout.state,
            step=rollout.step,
            share=rollout.share,
            decision=verdict.decision,
            reason=verdict.reason,
            counts=plain,
            numbers=verdict.numbers,
            settings_hash=json_sha256(rollout.settings),
        )
    )


def _move_adapters(session: Session, rollout: Rollout, now: datetime) -> None:
    """Make the adapters' statuses and the application's live adapter follow the rollout."""
    application = session.get_one(Application, rollout.application)
    canary = session.get_one(Adapter, rollout.canary_adapter)
    baseline = session.get(Adapter, rollout.baseline_adapter) if rollout.baseline_adapter else None
    if rollout.state in {"watch", "live"}:
        application.live_adapter, canary.status = canary.name, "live"
        if baseline is not None:
            baseline.status = "retired" if rollout.state == "live" else "live"
    elif rollout.state in {"rolled_back", "inconclusive"}:
        application.live_adapter, canary.status = rollout.baseline_adapter, rollout.state
    application.updated_at = now
    session.add_all([row for row in (application, canary, baseline) if row is not None])
