"""The drift page: how severe, why, which columns, which new subjects, and what was done about it.

DETECT's words for people. In comes a `DriftStory` that `report` read from the store; out goes one
HTML text. Knows nothing of the store; the pieces come from `monitoring.layout`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from core.clock import as_utc
from feedback.drift_tables import DriftReport
from feedback.tables import Adapter, Run
from monitoring import layout
from monitoring.drawing import CANARY, HARM, MUTED, canvas, styled, svg
from monitoring.drift.columns import BY_NAME
from monitoring.drift.decision import p_words

HEADLINES = {
    "none": "No drift of {application}",
    "watch": "{application} may be drifting",
    "act": "{application} has drifted",
}
READING = (
    "Each column of the window is tested against the reference. The corrected p-value says how "
    "often a difference like this one turns up by chance when all columns are watched: below "
    "{alpha} it is sure. The effect says how large the difference is, whatever the amount of "
    "data: 1 is the smallest that matters, and the bars show it in these units. Drift needs both. "
    "It is watched in one window and acted on when it is large or stays. Columns of operation "
    "(latency, cost, errors) are not mended by training and are left to alerts."
)
DRAWN = 18  # bars that can be read


@dataclass(frozen=True)
class DriftStory:
    """All that the page tells; `examples` has the prompts of each cluster that are stored."""

    report: DriftReport
    examples: Sequence[Sequence[str]]
    run: Run | None
    adapter: Adapter | None  # what the run made
    files: Sequence[str]  # Evidently's, beside the page


def render(story: DriftStory) -> str:
    """Return the page."""
    report = story.report
    headline = HEADLINES[report.severity].format(application=report.application)
    numbers = report.numbers
    parts = [
        f"<h1>{layout.text(headline)}</h1>",
        _lead(report),
        _retraining(story),
        _drawing(numbers["findings"]),
        layout.section("New subjects", _clusters(story)),
        layout.section("Columns, the largest change first", _findings(numbers["findings"])),
        *(
            layout.section(f"Against the {_words(kind)}, for comparison", _findings(findings))
            for kind, findings in numbers["others"].items()
        ),
        layout.section("Evidently's reports", _evidently(story)),
        layout.section("Window", _window(report)),
        layout.section("How to read this", _reading(numbers)),
    ]
    return layout.page(headline, parts)


def _lead(report: DriftReport) -> str:
    style = {"none": "calm", "watch": "open", "act": "act"}[report.severity]
    said = f"{report.severity.capitalize()}: {report.reason}."
    return layout.paragraph(said, f"lead {style}")


def _retraining(story: DriftStory) -> str:
    run_id = story.report.run_id
    if run_id is None:
        waits = story.report.severity == "act"
        return layout.paragraph("No retraining has followed yet.") if waits else ""
    if story.run is None:
        return layout.paragraph(f"It caused the retraining {run_id}.")
    run = story.run
    made = f"It caused the retraining {run_id} ({run.recipe}, {run.mode}, {run.status})."
    came = f" {story.adapter.name} came of it ({story.adapter.status})." if story.adapter else ""
    return layout.paragraph(f"{made}{came} `ratchet runs show {run_id}` tells of it.")


def _drawing(findings: Sequence[Mapping[str, Any]]) -> str:
    tested = [one for one in findings if one["p"] is not None][:DRAWN]
    if not tested:
        return ""
    with styled():
        figure, axes = canvas((5.4, 0.8 + 0.22 * len(tested)))
        axes.grid(visible=False)
        names = [_title(one) for one in reversed(tested)]
        sizes = [one["strength"] for one in reversed(tested)]
        colours = [HARM if one["drifted"] else CANARY for one in reversed(tested)]
        axes.barh(names, sizes, color=colours, height=0.6)
        axes.axvline(1.0, color=MUTED, linestyle="--", linewidth=1.0)
        axes.set_xlabel("change; right of the dashed line it matters")
        drawn = svg(figure, axes, "How much each column has changed")
    return layout.figure("How much each column has changed", drawn)


def _findings(findings: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        (
            _title(one),
            _words(one["group"]),
            one["before"] or "-",
            one["after"] or "-",
            "-" if one["p"] is None else f"{one['strength']:.2g}",
            ", ".join(f"{_words(name)} {size:.2g}" for name, size in one["effects"].items()),
            "-" if one["p"] is None else p_words(one["adjusted_p"]),
            _result(one),
        )
        for one in findings
    ]
    head = (
        "Column",
        "Tells of",
        "Reference",
        "Window",
        "Change",
        "Effect sizes",
        "Corrected p",
        "Result",
    )
    return layout.table(head, rows)


def _result(one: Mapping[str, Any]) -> str:
    if one["p"] is None:
        return f"not tested: {one['values'][0]} and {one['values'][1]} values"
    if one["drifted"]:
        return "drift, large" if one["large"] else "drift"
    return "no drift"


def _clusters(story: DriftStory) -> str:
    clusters = story.report.numbers["clusters"]
    if not clusters:
        return layout.paragraph("None: no group of prompts is far from all of the reference.")
    return "\n".join(
        _cluster(cluster, examples)
        for cluster, examples in zip(clusters, story.examples, strict=True)
    )


def _cluster(cluster: Mapping[str, Any], examples: Sequence[str]) -> str:
    name = ", ".join(cluster["words"]) or "a new subject"
    share = f"{100.0 * cluster['share']:.3g} % of the window ({cluster['rows']} prompts)"
    told = layout.paragraph(f"{name}: {share}, cosine distance {cluster['distance']:.2g}")
    if not examples:
        return told + layout.paragraph("Its prompts are not stored, or no longer.")
    items = "".join(f"<li>{layout.text(prompt)}</li>" for prompt in examples)
    return f"{told}<ul>{items}</ul>"


def _evidently(story: DriftStory) -> str:
    if not story.files:
        return layout.paragraph(story.report.numbers["evidently"])
    links = "".join(
        f'<li><a href="{layout.text(name)}">{layout.text(name)}</a></li>' for name in story.files
    )
    return f"<ul>{links}</ul>"


def _window(report: DriftReport) -> str:
    numbers = report.numbers
    return layout.facts(
        [
            ("Application", report.application),
            ("Adapter", report.adapter or "the base model"),
            ("From", _when(report.window_start)),
            ("To", _when(report.window_end)),
            ("Rows", f"{numbers['rows'][1]} of the window, {numbers['rows'][0]} of the reference"),
            ("Reference", f"{_words(numbers['reference'])} ({report.reference_id})"),
            ("Checked", _when(report.made_at)),
            ("Report", report.id),
            ("Seed", numbers["seed"]),
            ("Settings hash", numbers["settings_hash"]),
        ]
    )


def _reading(numbers: Mapping[str, Any]) -> str:
    return layout.paragraph(READING.format(alpha=numbers["alpha"]))


def _title(one: Mapping[str, Any]) -> str:
    return BY_NAME[one["column"]].title if one["column"] in BY_NAME else str(one["column"])


def _words(name: str) -> str:
    return name.replace("_", " ")


def _when(instant: datetime) -> str:
    return as_utc(instant).strftime("%Y-%m-%d %H:%M:%S UTC")
