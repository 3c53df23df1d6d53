"""The demo's report: one page for people, one JSON file for machines, one table for a terminal.

In comes a `DemoResult`; out go `report.html` (whole in itself, light or dark) and `report.json`
in a folder, and a summary on a console. Knows nothing of how the demo runs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from core.files import write_atomic
from loop.demo import plots
from loop.demo.result import (
    BY_VERDICT,
    DemoResult,
    Drift,
    GoodAdapter,
    Outcome,
    RolloutTrack,
    Sample,
    SpoiledAdapter,
    shortcomings,
    to_json,
    traffic_shares,
)
from monitoring import layout

BASE = "base"  # the crowd's name for answers that came without an adapter
WORDS: dict[Outcome, str] = {
    "promoted": "promoted",
    "rolled_back": "rolled back",
    "inconclusive": "left without a decision",
    "undecided": "not decided",
}


def write_demo_report(result: DemoResult, folder: Path) -> Path:
    """Write `report.json` and `report.html` into `folder`; return the path of the page."""
    page = folder / "report.html"
    text = json.dumps(to_json(result), indent=2, ensure_ascii=False, default=str)
    write_atomic(folder / "report.json", f"{text}\n")
    write_atomic(page, layout.page(_headline(result), _parts(result)))
    return page


def print_summary(console: Console, result: DemoResult) -> None:
    """Print the result as a table, and below it what is missing, if anything is."""
    table = Table(title="The demo", title_justify="left", show_header=False)
    table.add_column(style="dim")
    table.add_column()
    for name, value in _facts(result):
        table.add_row(name, Text(value))
    console.print(table)
    missing = shortcomings(result)
    for sentence in missing:
        console.print(Text(f"Not shown: {sentence}", style="bold red"))
    if not missing:
        console.print(Text("Everything that the demo promises was shown.", style="green"))


def _headline(result: DemoResult) -> str:
    before, after = result.heldout.base, result.heldout.promoted
    return f"Good answers on held-out questions: {before:.0%} before, {after:.0%} after"


def _facts(result: DemoResult) -> Iterator[tuple[str, str]]:
    """Yield the result's names and values, for the page and the terminal alike."""
    heldout, good, spoiled = result.heldout, result.good, result.spoiled
    seen = traffic_shares(result)
    yield "Held-out good share, base", f"{heldout.base:.1%} of {heldout.questions} questions"
    yield (
        "Held-out good share, promoted",
        f"{heldout.promoted:.1%} of {heldout.questions} questions",
    )
    for adapter, numbers in seen.items():
        said = f"{numbers['good_share']:.1%} of {numbers['answers']:,} answers"
        yield f"Good in traffic, {adapter}", said
    yield "Good adapter", _story(good)
    yield "Ratings to its decision", f"{good.ratings_to_decision:,}"
    yield from _drift_facts(result.drift)
    yield "Spoiled adapter", _story(spoiled)
    yield "Forced past the gate by", spoiled.override_by or "nobody"
    yield "Exposures before its rollback", f"{spoiled.exposures_before_rollback:,}"
    yield "Whole demo", f"{sum(phase.seconds for phase in result.phases):.0f} s"


def _drift_facts(drift: Drift) -> Iterator[tuple[str, str]]:
    new, known = drift.heldout, drift.known
    yield "Drift detected after", f"{drift.detected_after_interactions:,} questions of a new topic"
    yield "New cluster", ", ".join(drift.words) or "none was named"
    run = drift.retraining
    told = f"gate {drift.gate}, {WORDS[drift.decision]} by {_by(drift.decided_by)}"
    yield "Retrained by policy", f"{run.adapter}, {run.kind}: {told}"
    yield (
        "Held-out good share, new topic",
        f"{new.base:.1%} before, {new.promoted:.1%} after, of {new.questions} questions",
    )
    yield (
        "Held-out good share, known topics",
        f"{known.base:.1%} before, {known.promoted:.1%} after, of {known.questions} questions",
    )


def _story(adapter: GoodAdapter | SpoiledAdapter) -> str:
    outcome = WORDS[adapter.decision]
    return f"{adapter.name}: gate {adapter.gate}, {outcome} by {_decider(adapter)}"


def _decider(adapter: GoodAdapter | SpoiledAdapter) -> str:
    return _by(adapter.decided_by)


def _by(decided_by: str) -> str:
    return "the verdict" if decided_by in BY_VERDICT else decided_by


def _parts(result: DemoResult) -> Iterator[str]:
    good, spoiled = result.good, result.spoiled
    colours = plots.adapter_colours(BASE, good.name, spoiled.name)
    yield f"<h1>{layout.text(_headline(result))}</h1>"
    yield layout.paragraph(_lead(result), f"lead {'live' if not shortcomings(result) else ''}")
    for sentence in shortcomings(result):
        yield layout.paragraph(f"Not shown: {sentence}", "override")
    yield layout.section("Result", layout.facts(_facts(result)))
    if result.answers:
        drawing = plots.draw_satisfaction(result.answers, result.phases, colours)
        caption = f"Share of good ones among the last {plots.WINDOW} answers of each"
        yield layout.section("What users saw", layout.figure(caption, drawing))
    yield layout.section("What training changed", _training(result, colours))
    yield layout.section("The same questions before and after", _samples(result.samples))
    yield _rollout("The good adapter", good)
    yield layout.section("Drift: a topic never seen before", _drift(result.drift))
    yield _rollout("The spoiled adapter", spoiled)
    yield layout.section("Where the time went", _phases(result))
    yield layout.section("Details", layout.facts(_leaves(result.details)))


def _lead(result: DemoResult) -> str:
    good, drift, spoiled = result.good, result.drift, result.spoiled
    forced = (
        f"was forced past it by {spoiled.override_by} and was {WORDS[spoiled.decision]} "
        f"by {_decider(spoiled)} after {spoiled.exposures_before_rollback:,} answers"
        if spoiled.override_by
        else "never reached a user"
    )
    return (
        f"Simulated users of a support desk rated and corrected what they saw. "
        f"{good.name}, trained on that, was {WORDS[good.decision]} by {_decider(good)} after "
        f"{good.ratings_to_decision:,} ratings. Users turned to a new topic, and the service found "
        f"drift and retrained by itself: {drift.retraining.adapter} was {WORDS[drift.decision]} by "
        f"{_by(drift.decided_by)}. {spoiled.name}, trained on spoiled data, got "
        f"“{spoiled.gate}” at the gate, {forced}."
    )


def _training(result: DemoResult, colours: Mapping[str, str]) -> str:
    heldout = plots.draw_heldout(result.heldout)
    figures = [
        layout.figure("Good answers on held-out questions, never rated or corrected", heldout)
    ]
    if result.losses:
        losses = plots.draw_losses(result.losses, colours)
        figures.append(layout.figure("Training loss", losses))
    return _drawings(figures)


def _drawings(figures: list[str]) -> str:
    return f'<div class="drawings">{"".join(figures)}</div>'


def _rollout(title: str, adapter: GoodAdapter | SpoiledAdapter) -> str:
    reason = f" Reason: {adapter.reason.rstrip('.')}." if adapter.reason else ""
    content = layout.paragraph(f"{_story(adapter)}.{reason}")
    return layout.section(title, content + _tracked(adapter.name, adapter.track))


def _drift(drift: Drift) -> str:
    """Return what the service did of itself, with the prompts of the new cluster."""
    run = drift.retraining
    link = escape(drift.report_file, quote=True)
    words = ", ".join(drift.words) or "no words"
    prompts = "".join(f"<li>{layout.text(prompt)}</li>" for prompt in drift.examples)
    return (
        layout.paragraph(
            f"Customers turned to a new topic; the service noticed after "
            f"{drift.detected_after_interactions:,} of their questions. {drift.reason}."
        )
        + f'<p><a href="{link}">The whole drift report</a></p>'
        + layout.paragraph(f"It names a new cluster of prompts by: {words}.")
        + f"<ul>{prompts}</ul>"
        + layout.paragraph(f"Run {run.run} followed by policy, {run.kind}. {run.reason}.")
        + layout.facts(_drift_facts(drift))
        + _tracked(run.adapter, drift.track)
    )


def _tracked(name: str, track: RolloutTrack | None) -> str:
    """Return a rollout's own report and its drawings."""
    content = ""
    if track is not None and track.report_file is not None:
        link = escape(track.report_file, quote=True)
        content += f'<p><a href="{link}">The whole report of this rollout</a></p>'
    if track is not None and track.times_s:
        share = plots.draw_canary_share(track, f"{name}: share of subjects in canary")
        evidence = plots.draw_evidence(track, f"{name}: evidence from ratings")
        content += _drawings(
            [
                layout.figure("Evidence from ratings (e-value)", evidence),
                layout.figure("Share of subjects in the canary arm", share),
            ]
        )
    return content


def _samples(samples: tuple[Sample, ...]) -> str:
    if not samples:
        return layout.paragraph("No samples were kept.")
    rows = "\n".join(
        f"<tr>{_cell(sample.question)}{_cell(sample.base, sample.base_good)}"
        f"{_cell(sample.promoted, sample.promoted_good)}</tr>"
        for sample in samples
    )
    names = ("Held-out question", "Base model", "Promoted adapter")
    head = "".join(f'<th scope="col">{name}</th>' for name in names)
    note = layout.paragraph(
        "Questions at even distances through the desk's facts, not chosen by their answers."
    )
    return (
        f'{note}<div class="scroll" tabindex="0"><table><thead><tr>{head}</tr></thead>\n'
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(text: str, good: bool | None = None) -> str:
    """Return a table cell whose text wraps, marked as good or bad in words and colour."""
    style = "white-space: normal; vertical-align: top; min-width: 12rem"
    mark = ""
    if good is not None:
        colour, word = ("--third", "good") if good else ("--harm", "bad")
        mark = f'<strong style="color: var({colour})">{word}</strong> '
    return f'<td style="{style}">{mark}{layout.text(text)}</td>'


def _phases(result: DemoResult) -> str:
    if not result.phases:
        return layout.paragraph("No phases were recorded.")
    return layout.figure("Seconds of each phase", plots.draw_phases(result.phases))


def _leaves(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the leaves of nested mappings with names like `machine: cores`."""
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            yield from _leaves(inner, f"{prefix}{name}: ")
        else:
            yield f"{prefix}{name}", inner
