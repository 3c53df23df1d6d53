"""A loop that has turned for a week, as rows: what the console's pages tell of."""

from __future__ import annotations

import json
import math
import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from core.clock import utc_now
from core.ids import new_id
from core.settings import CanarySettings
from feedback.alert_tables import Incident, IncidentNote
from feedback.console_tables import AuditEntry, MetricHour
from feedback.drift_tables import DriftReport, FeatureWindow
from feedback.job_tables import JobState
from feedback.store import Store
from feedback.tables import (
    Adapter,
    AdapterReplica,
    Application,
    DatasetMember,
    DatasetVersion,
    EngineReplica,
    Interaction,
    Rollout,
    Run,
    VerdictRecord,
)
from monitoring.days import roll_up_days
from monitoring.histogram import bucket

APPLICATION = "shop"
RUN, ROLLOUT = "run-3", "rollout-3"
ENGINE = "http://127.0.0.1:9"  # nobody listens there


def tell(store: Store, folder: Path, application: str = APPLICATION) -> None:
    """Store the rows of an application whose third adapter is in canary."""
    now = utc_now()
    with store.session() as session:
        owner = session.get(Application, application) or Application(name=application)
        owner.live_adapter, owner.updated_at = f"{application}--v2", now - timedelta(days=2)
        session.add(owner)
        session.add_all(_engines(application))
        session.add_all(hours(application, now))
        for version in (1, 2, 3):
            session.add_all(_version(application, version, now, folder))
        session.add_all(_verdicts(now))
        session.add_all(_troubles(application, now, folder))
        session.add_all(windows(application, now))
        session.add(_act("ann", "rollout_promoted", "rollout", "rollout-2", application))
        session.add(_act("key 12ab", "key_created", "key", "9f00aa11bb22", application))
        session.commit()
    roll_up_days(store, application, now, now)


def windows(application: str, now: datetime, count: int = 14) -> list[FeatureWindow]:
    """Return windows of two adapters over a week, in which ever more is novel to the older one."""
    return [
        FeatureWindow(
            id=new_id(),
            application=application,
            adapter=f"{application}--v{version}",
            start=now - timedelta(hours=12 * (count - number)),
            end=now - timedelta(hours=12 * (count - number) - 12),
            rows=2_000,
            sampled_rows=1_000,
            path="/nowhere",
            summary={"novelty_rate": 0.011 + number * (0.004 if version == 2 else 0.0005)},
        )
        for number in range(count)
        for version in ((2, 3) if number > count // 2 else (2,))
    ]


def hours(application: str, now: datetime, count: int = 168) -> list[MetricHour]:
    """Return hourly sums of a week with a day's rhythm."""
    chance = random.Random(7)
    start = now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=count - 1)
    rows: list[MetricHour] = []
    for number in range(count):
        at = start + timedelta(hours=number)
        busy = 60 + 50 * math.sin((at.hour - 6) / 24 * 2 * math.pi)
        for adapter, part in ((f"{application}--v2", 0.9), (f"{application}--v3", 0.1)):
            rows.append(_hour(application, at, adapter, int(busy * part) + 1, chance))
    return rows


def _hour(
    application: str, at: datetime, adapter: str, requests: int, chance: random.Random
) -> MetricHour:
    def histogram(middle: float, spread: float) -> dict[str, int]:
        found: dict[str, int] = {}
        for _ in range(min(requests, 40)):
            name = bucket(chance.lognormvariate(math.log(middle), spread))
            found[name] = found.get(name, 0) + 1
        return found

    votes = requests // 4
    up = sum(chance.random() < 0.72 for _ in range(votes))
    counts: dict[str, Any] = {
        **{"interactions": requests, "requests": requests, "costed": requests, "facts": votes},
        **{"errors": sum(chance.random() < 0.01 for _ in range(requests)), "effective": votes},
        **{"thumbs_up": up, "thumbs_down": votes - up, "ratings": votes, "rating_sum": votes * 4},
        **{"completed": votes, "abandoned": votes // 5, "escalated": requests // 40},
        **{"latency": histogram(0.8, 0.5), "ttft": histogram(0.15, 0.4)},
        **{"prompt_lengths": histogram(60, 0.9), "answer_lengths": histogram(140, 0.7)},
    }
    place: dict[str, Any] = {"application": application, "hour": at, "adapter": adapter}
    return MetricHour(**place, cost=0.004 * requests, **counts)


def _engines(application: str) -> list[Any]:
    replica = AdapterReplica(adapter=f"{application}--v2", engine=ENGINE, state="ready")
    return [EngineReplica(engine=ENGINE, state="up"), replica]


def _version(application: str, version: int, now: datetime, folder: Path) -> list[Any]:
    """Return a dataset, its run, its adapter and its rollout."""
    began = now - timedelta(days=8 - 2 * version)
    run_folder = folder / f"run-{version}"
    run_folder.mkdir(parents=True, exist_ok=True)
    write_progress(run_folder)
    dataset, adapter = f"{application}--d{version}", f"{application}--v{version}"
    parent = f"{application}--v{version - 1}" if version > 1 else None
    state = {1: "rolled_back", 2: "live", 3: "canary"}[version]
    members = [
        DatasetMember(dataset_id=dataset, interaction_id=new_id(), split="train")
        for _ in range(40 * version)
    ]
    return [
        *members,
        DatasetVersion(
            **_place(dataset, application, began),
            parent=f"{application}--d{version - 1}" if version > 1 else None,
            path="/nowhere",
            content_hash=f"{version}" * 64,
            train_rows=240 * version,
            validation_rows=30 * version,
            test_rows=30 * version,
            new_rows=60,
            manifest={
                "lineage": {
                    **{"interactions": 40 * version, "subjects": 31 * version},
                    "sources": {"approved": 30 * version, "corrected": 10 * version},
                    "oldest": (began - timedelta(days=3)).isoformat(),
                    "newest": began.isoformat(),
                },
                "stages": [
                    {
                        **{"name": "dedupe", "before": 360 * version, "after": 348 * version},
                        **{"changed": 0, "added": 0, "dropped": {"near duplicate": 12 * version}},
                    }
                ],
                "seed": 17,
            },
        ),
        Run(
            id=f"run-{version}",
            application=application,
            dataset_id=dataset,
            recipe="sft-lora",
            mode="incremental" if version > 1 else "full",
            parent_adapter=parent,
            reason=f"growth: {10 + version} % new approved examples",
            status="finished",
            folder=str(run_folder),
            hyperparameters={"rank": 16, "learning_rate": 2e-4},
            metrics={"validation_loss": 1.25, "tokens": 812_345},
            started_at=began + timedelta(hours=1),
            finished_at=began + timedelta(hours=2),
        ),
        Adapter(
            name=adapter,
            application=application,
            base_model="smollm2-135m-instruct",
            path=f"/nowhere/{adapter}",
            content_hash=f"{version}" * 64,
            run_id=f"run-{version}",
            dataset_id=dataset,
            parent_adapter=parent,
            status=state,
            rank=16,
            gate={"decision": "pass", "reasons": ["the score is 0.04 above the live adapter's"]},
            created_at=began + timedelta(hours=2),
            created_by="ratchet",
        ),
        Rollout(
            id=f"rollout-{version}",
            application=application,
            baseline_adapter=parent,
            canary_adapter=adapter,
            state=state,
            step=2,
            share=0.25 if state == "canary" else float(state == "live"),
            salt="salt",
            settings=CanarySettings().model_dump(mode="json"),
            reason="31 exposures without harm: the share grows to 25%",
            created_at=began + timedelta(hours=3),
            state_since=began + timedelta(hours=3),
            step_since=began + timedelta(hours=20),
            finished_at=None if state == "canary" else began + timedelta(days=1),
        ),
    ]


def _place(id_: str, application: str, at: datetime) -> dict[str, Any]:
    return {"id": id_, "application": application, "created_at": at}


def write_progress(folder: Path, steps: int = 120) -> None:
    """Write what a run tells while it trains."""
    lines = [{"phase": "load"}]
    for step in range(1, steps + 1):
        told: dict[str, Any] = {"phase": "train", "step": step, "total_steps": steps}
        told |= {"loss": 1.1 + 1.6 * math.exp(-step / 30), "learning_rate": 2e-4 * (1 - step / 130)}
        told |= {"grad_norm": 1.0 + 0.3 * math.sin(step), "tokens_per_s": 410.0 + step % 9}
        if step % 20 == 0:
            told["validation_loss"] = 1.25 + 1.5 * math.exp(-step / 28)
        lines.append(told)
    (folder / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def verdict_numbers(number: int) -> dict[str, Any]:
    """Return the numbers of a verdict while evidence grows."""
    grown = number / 24
    width = 0.5 / math.sqrt(1 + number)

    def proof(log10: float, needed: float) -> dict[str, float]:
        return {"log10": log10, "value": 10**log10, "needed": needed}

    return {
        "arms": {"canary": {"good_share": 0.78}, "baseline": {"good_share": 0.71}},
        "evidence": {"better": proof(1.05 * grown, 20.0), "worse": proof(-0.8 * grown, 20.0)},
        "difference": {"low": 0.07 - width, "high": 0.07 + width},
        "guardrails": {
            "error": {
                **{"tolerance": 0.02, "harm": proof(-0.9 * grown, 40.0)},
                **{"safe": proof(1.6 * grown, 20.0), "baseline": 0.011, "canary": 0.009},
            },
            "latency": {
                **{"tolerance": 0.05, "harm": proof(-0.4 * grown, 40.0)},
                **{"safe": proof(0.9 * grown, 20.0), "baseline": 0.05, "canary": 0.052},
            },
        },
        "mismatch": proof(-0.6 * grown, 1000.0),
        "forecast": {"says": "about 140 more ratings, some 6 hours at this traffic"},
        "elapsed_s": 3600.0 * number,
        "refused": None,
    }


def _verdicts(now: datetime) -> list[VerdictRecord]:
    return [
        VerdictRecord(
            id=new_id(),
            rollout_id=ROLLOUT,
            state="canary",
            step=min(2, number // 8),
            share=(0.01, 0.05, 0.25)[min(2, number // 8)],
            decision="hold",
            reason="promotion E 11 of 20; latency guardrail not shown yet: E 8 of 20",
            numbers=verdict_numbers(number),
            settings_hash="0" * 64,
            created_at=now - timedelta(hours=24 - number),
        )
        for number in range(25)
    ]


def _troubles(application: str, now: datetime, folder: Path) -> list[Any]:
    """Return a drift report with a new topic, an incident with a note, and two jobs."""
    reports = folder / "drift"
    reports.mkdir(parents=True, exist_ok=True)
    (reports / "report.html").write_text("<h1>drift</h1>")
    (reports / "secret.html").write_text("no report")
    prompt = [{"role": "user", "content": "How do I return a drone by mail?"}]
    place: dict[str, Any] = {"application": application, "adapter": f"{application}--v2"}
    finding = {"column": "topic", "group": "text", "drifted": True, "p": 0.0004}
    finding |= {"adjusted_p": 0.002, "strength": 2.6, "large": True}
    finding |= {"before": "parcels 41 %", "after": "parcels 30 %", "effects": {"cramers_v": 0.31}}
    same = {"column": "prompt_chars", "group": "text", "drifted": False, "p": 0.4}
    same |= {"adjusted_p": 0.7, "strength": 0.2, "large": False, "effects": {"cliffs_delta": 0.02}}
    same |= {"before": "median 84", "after": "median 86"}
    fields: dict[str, Any] = {
        **{"id": new_id(), "event_id": new_id(), "endpoint": "chat", "latency_s": 0.5},
        **{"requested_model": application, "messages": prompt, "started_at": now, **place},
    }
    asked = Interaction(**fields)
    return [
        asked,
        DriftReport(
            id="drift-1",
            **place,
            window_start=now - timedelta(hours=6),
            window_end=now,
            reference_id="reference-1",
            severity="act",
            reason="topic drifted: 18 % of prompts are about something new",
            numbers={
                "rows": [5_000, 2_000],
                "findings": [finding, same],
                "clusters": [
                    {
                        **{"rows": 90, "share": 0.18, "distance": 0.61},
                        **{"words": ["drone"], "examples": [asked.id]},
                    }
                ],
            },
            folder=str(reports),
            run_id="run-3",
        ),
        Incident(
            id="incident-1",
            fingerprint=f"p95/{application}",
            rule="p95",
            application=application,
            severity="warning",
            summary="p95 latency over 2 s for 10 minutes",
            metric="latency_p95_s",
            comparison=">",
            threshold=2.0,
            value=2.4,
            worst=3.1,
        ),
        IncidentNote(
            id=new_id(), incident_id="incident-1", kind="fired", author="rules", text="2.4 s"
        ),
        JobState(name="metrics", ok=True, message="1 hour made anew", last_finished_at=now),
        JobState(name="drift", ok=False, message="no reference yet", last_finished_at=now),
    ]


def _act(actor: str, action: str, kind: str, subject: str, application: str) -> AuditEntry:
    return AuditEntry(
        id=new_id(),
        actor=actor,
        action=action,
        kind=kind,
        subject=subject,
        application=application,
        reason="the new answers are plainly better" if kind == "rollout" else "",
    )
