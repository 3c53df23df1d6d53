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


def check_windows(session: Session, place: Place) -> list[DriftReport]:
    """Check the windows of the place that were not yet; return their reports, the oldest first.

    Each is committed when it is done. Raises: DataError when a window's file is gone.
    """
    windows = _windows(session, place)
    made: list[DriftReport] = []
    for number in range(max(0, len(windows) - CATCH_UP), len(windows)):
        window = windows[number]
        if session.get(DriftReport, window.id) is not None:
            continue
        references = newest_references(session, place, _encoder(window))
        comparable = _since(references[0], windows[: number + 1]) if references else []
        if comparable:
            made.append(_check(session, place, references, comparable))
    return made


def newest_references(session: Session, place: Place, encoder: str | None) -> list[Reference]:
    """Return the newest reference of each kind that was made with that encoder.

    The one that decides is first. Topics and vectors of two encoders cannot be compared.
    """
    found: list[Reference] = []
    for kind in get_args(columns.Reference):
        rows = session.exec(
            select(Reference)
            .where(
                Reference.application == place.application,
                Reference.adapter == place.adapter,
                Reference.kind == kind,
            )
            .order_by(col(Reference.made_at).desc())
        ).all()
        found += [row for row in rows if _encoder(row) == encoder][:1]
    return found


def _encoder(row: FeatureWindow | Reference) -> str | None:
    return row.summary.get("encoder")


def _windows(session: Session, place: Place) -> list[FeatureWindow]:
    """Return the newest windows, oldest first."""
    rows = session.exec(
        select(FeatureWindow)
        .where(
            FeatureWindow.application == place.application,
            FeatureWindow.adapter == place.adapter,
        )
        .order_by(col(FeatureWindow.start).desc())
        .limit(CATCH_UP + place.rules.horizon_windows)
    ).all()
    return list(reversed(rows))


def _since(reference: Reference, windows: Sequence[FeatureWindow]) -> list[FeatureWindow]:
    """Return the windows after the healthy week: it would be compared with itself."""
    told = reference.summary.get("end")  # ISO; training data have none
    until = as_utc(datetime.fromisoformat(told)) if told else None
    return [row for row in windows if until is None or as_utc(row.start) >= until]


def _check(
    session: Session,
    place: Place,
    references: Sequence[Reference],
    windows: Sequence[FeatureWindow],
) -> DriftReport:
    window, seed = windows[-1], crc32(windows[-1].id.encode())
    features = read_features(Path(window.path))
    known = [read_features(Path(row.path)) for row in references]
    recent = read_streams([Path(row.path) for row in windows[-place.rules.horizon_windows :]])
    first, *others = [
        compare(Compared(_kind(row), one.sample, features.sample, recent), place.rules, seed)
        for row, one in zip(references, known, strict=True)
    ]
    decision = decide(first, _past(session, place, windows), place.rules)
    subjects = _subjects(session, place.rules, (known[0], features), seed)
    report = _report(place, window, references[0], Found(first, others, decision))
    report.numbers |= {
        "rows": [known[0].sample.rows, features.sample.rows],
        "seed": seed,
        "clusters": subjects,
        "evidently": _evidently(session, place, (known[0], features), report),
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


def _subjects(
    session: Session, rules: DriftSettings, sides: tuple[Features, Features], seed: int
) -> list[dict[str, Any]]:
    """Return the subjects that the window has and the reference has not, with words and prompts."""
    known, features = sides
    before, after = known.sample.embedding, features.sample.embedding
    if before is None or after is None or before.shape[1] != after.shape[1]:
        return []
    clusters = new_clusters(before, after, rules, seed)
    others = _prompts(session, known.embedded_ids[:NAMING_ROWS]) if clusters else []
    return [_subject(session, cluster, features, others) for cluster in clusters]


def _subject(
    session: Session, cluster: Cluster, features: Features, others: Sequence[str]
) -> dict[str, Any]:
    """Return a cluster; its words are what neither `others` nor the rest of the window has."""
    ids, members = features.embedded_ids, set(cluster.rows)
    inside = [ids[row] for row in cluster.rows[:NAMING_ROWS]]
    rest = [one for row, one in enumerate(ids) if row not in members][:NAMING_ROWS]
    outside = [*others, *_prompts(session, rest)]
    return {
        "rows": len(cluster.rows),
        "share": cluster.share,
        "distance": cluster.distance,
        "words": naming_words(_prompts(session, inside), outside),
        "examples": [ids[row] for row in cluster.examples],
    }


def _prompts(session: Session, ids: Sequence[str]) -> list[str]:
    """Return the prompts of these interactions that are still stored."""
    return [one.prompt for one in read_texts(session, ids).values()]


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
