"""A window checked: read, compared, decided, written down once.

DETECT's edge to the store. In come the rows of windows and references; out goes one `DriftReport`
for each window, whose id is the window's, so that a check that is repeated changes nothing.
The healthy week decides; before it is over, the training data do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, get_args
from zlib import crc32

from sqlmodel import Session, col, select

from core.clock import as_utc, utc_now
from core.drift_settings import DriftSettings
from core.files import json_sha256
from feedback.drift_tables import DriftReport, FeatureWindow, Reference
from monitoring.drift import columns, evidently_reports
from monitoring.drift.clusters import Cluster, naming_words, new_clusters
from monitoring.drift.comparison import Compared, Comparison, Finding, compare
from monitoring.drift.decision import Decision, Past, decide
from monitoring.drift.reading import Features, read_features, read_streams, read_texts
from monitoring.drift.report import write_report

CATCH_UP = 8  # windows behind that are still checked; older ones are history
NAMING_ROWS = 300  # texts on each side that a cluster's words come from
TEXT_ROWS = 1_000  # texts on each side in Evidently's report


@dataclass(frozen=True)
class Place:
    """Whose traffic is checked, by which rules, and where reports go."""

    application: str
    adapter: str | None  # None: the base model
    rules: DriftSettings
    folder: Path  # of all reports


@dataclass(frozen=True)
class Found:
    """What a check found, before it is written down."""

    comparison: Comparison
    others: Sequence[Comparison]
    decision: Decision
    clusters: Sequence[Cluster]
    words: Sequence[Sequence[str]]  # of each cluster


def check_windows(session: Session, place: Place) -> list[DriftReport]:
    """Check the windows of the place that were not yet; return their reports, the oldest first.

    Each is committed when it is done. Raises: DataError when a window's file is gone.
    """
    references = newest_references(session, place)
    if not references:
        return []
    windows = _windows(session, place, references[0])
    return [
        _check(session, place, references, windows[: number + 1])
        for number in range(max(0, len(windows) - CATCH_UP), len(windows))
        if session.get(DriftReport, windows[number].id) is None
    ]


def newest_references(session: Session, place: Place) -> list[Reference]:
    """Return the newest reference of each kind, the one that decides first."""
    found: list[Reference] = []
    for kind in get_args(columns.Reference):
        row = session.exec(
            select(Reference)
            .where(
                Reference.application == place.application,
                Reference.adapter == place.adapter,
                Reference.kind == kind,
            )
            .order_by(col(Reference.made_at).desc())
        ).first()
        found += [row] if row is not None else []
    return found


def _windows(session: Session, place: Place, reference: Reference) -> list[FeatureWindow]:
    """Return the newest windows, oldest first, without those that the reference is made of."""
    rows = session.exec(
        select(FeatureWindow)
        .where(
            FeatureWindow.application == place.application,
            FeatureWindow.adapter == place.adapter,
        )
        .order_by(col(FeatureWindow.start).desc())
        .limit(CATCH_UP + place.rules.horizon_windows)
    ).all()
    inside = set(reference.summary.get("windows", ()))  # ids
    told = reference.summary.get("end")  # ISO, of a healthy week
    until = as_utc(datetime.fromisoformat(told)) if told else None
    return [
        row
        for row in reversed(rows)
        if row.id not in inside and (until is None or as_utc(row.start) >= until)
    ]


def _check(
    session: Session,
    place: Place,
    references: Sequence[Reference],
    windows: Sequence[FeatureWindow],
) -> DriftReport:
    window, decides = windows[-1], references[0]
    seed = crc32(window.id.encode())
    features = read_features(Path(window.path))
    known = {row.id: read_features(Path(row.path)) for row in references}
    paths = [Path(row.path) for row in windows[-place.rules.horizon_windows :]]
    recent = read_streams(paths)
    comparisons = [
        compare(
            Compared(_kind(row), known[row.id].sample, features.sample, recent), place.rules, seed
        )
        for row in references
    ]
    decision = decide(comparisons[0], _past(session, place, windows), place.rules)
    clusters = _clusters(known[decides.id], features, place.rules, seed)
    words = [_words(session, features, cluster) for cluster in clusters]
    found = Found(comparisons[0], comparisons[1:], decision, clusters, words)
    report = _report(place, window, decides, found)
    report.numbers |= {
        "rows": [known[decides.id].sample.rows, features.sample.rows],
        "seed": seed,
        "clusters": [
            _cluster_numbers(cluster, some, features)
            for cluster, some in zip(clusters, words, strict=True)
        ],
        "evidently": _evidently(session, place, (known[decides.id], features), report),
    }
    session.add(report)
    write_report(session, report)
    session.commit()
    return report


def _kind(reference: Reference) -> columns.Reference:
    return "training" if reference.kind == "training" else "healthy_week"


def _past(session: Session, place: Place, windows: Sequence[FeatureWindow]) -> Past:
    """Return what was found in the windows before, back to the first gap, and the last act."""
    drifted: list[frozenset[str]] = []
    for later, earlier in zip(reversed(windows), reversed(windows[:-1]), strict=False):
        report = session.get(DriftReport, earlier.id)
        gap = as_utc(later.start) - as_utc(earlier.end)
        if report is None or gap > as_utc(later.end) - as_utc(later.start):
            break
        drifted.insert(0, frozenset(report.numbers["drifted"]))
    act = session.exec(
        select(DriftReport)
        .where(DriftReport.application == place.application, DriftReport.severity == "act")
        .order_by(col(DriftReport.window_end).desc())
    ).first()
    if act is None:
        return Past(drifted)
    since = as_utc(windows[-1].end) - as_utc(act.window_end)
    return Past(drifted, since.total_seconds())


def _clusters(
    known: Features, features: Features, rules: DriftSettings, seed: int
) -> list[Cluster]:
    before, after = known.sample.embedding, features.sample.embedding
    if before is None or after is None or before.shape[1] != after.shape[1]:
        return []
    return new_clusters(before, after, rules, seed)


def _words(session: Session, features: Features, cluster: Cluster) -> list[str]:
    ids = features.embedded_ids
    inside = [ids[row] for row in cluster.rows[:NAMING_ROWS]]
    members = set(cluster.rows)
    outside = [one for row, one in enumerate(ids) if row not in members][:NAMING_ROWS]
    texts = read_texts(session, [*inside, *outside])
    return naming_words(
        [texts[one].prompt for one in inside if one in texts],
        [texts[one].prompt for one in outside if one in texts],
    )


def _report(place: Place, window: FeatureWindow, reference: Reference, found: Found) -> DriftReport:
    rules = place.rules
    return DriftReport(
        id=window.id,
        application=place.application,
        adapter=place.adapter,
        made_at=utc_now(),
        window_start=window.start,
        window_end=window.end,
        reference_id=reference.id,
        severity=found.decision.severity,
        reason=found.decision.reason,
        folder=str((place.folder / window.id).resolve()),
        numbers={
            "reference": found.comparison.reference,
            "alpha": rules.alpha,
            "drifted": list(found.decision.drifted),
            "findings": [_numbers(one, rules) for one in found.comparison.findings],
            "others": {
                other.reference: [_numbers(one, rules) for one in other.findings]
                for other in found.others
            },
            "settings_hash": json_sha256(rules.model_dump(mode="json")),
        },
    )


def _numbers(finding: Finding, rules: DriftSettings) -> dict[str, Any]:
    told = asdict(finding) | {
        "column": finding.column.name,
        "group": finding.column.group,
        "drifted": finding.drifted(rules.alpha),
    }
    return told | {"values": list(finding.values), "effects": dict(finding.effects)}


def _cluster_numbers(cluster: Cluster, words: Sequence[str], features: Features) -> dict[str, Any]:
    ids = features.embedded_ids
    return {
        "rows": len(cluster.rows),
        "share": cluster.share,
        "distance": cluster.distance,
        "words": list(words),
        "examples": [ids[row] for row in cluster.examples],
    }


def _evidently(
    session: Session, place: Place, sides: tuple[Features, Features], report: DriftReport
) -> str:
    """Write Evidently's reports if they are wanted; return a sentence about them."""
    wanted = place.rules.evidently
    if wanted == "never" or (wanted == "drift" and report.severity == "none"):
        return f"Evidently's reports are not written here: drift.evidently is {wanted!r}."
    if not evidently_reports.is_installed():
        return evidently_reports.MISSING
    folder = Path(report.folder)
    folder.mkdir(parents=True, exist_ok=True)
    reference, window = (
        evidently_reports.Side(
            side.sample, list(read_texts(session, side.interaction_ids[:TEXT_ROWS]).values())
        )
        for side in sides
    )
    names = evidently_reports.write_evidently(reference, window, folder)
    return f"Evidently's reports: {', '.join(names)}."
