"""CURATE: the coverage report as people read it, a section of the dataset card.

The dict of `curation.stages.coverage` comes in, as the manifest keeps it; Markdown goes out. Pure;
shows numbers and names of topics, never text of people.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

MAX_TOPICS = 20  # largest first; the manifest has them all
MAX_LANGUAGES = 10


def coverage_markdown(report: Mapping[str, Any]) -> str:
    """Return the section of the card that begins with the heading "Coverage"."""
    rows = report["rows"]
    parts = [
        "## Coverage",
        _summary(report),
        _topics(report["topics"]),
        _traffic(report["traffic"]),
        _counts("Type of instruction", report["instructions"].items(), rows),
        _counts("Tokens", _histogram(report["tokens"]), rows),
        _languages(report["languages"]),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _summary(report: Mapping[str, Any]) -> str:
    topics, distinct = report["topics"], report["distinct"]
    lengths = ", ".join(f"{count} {name}" for name, count in report["lengths"].items())
    grams = ", ".join(f"{_number(distinct[n])} ({n})" for n in ("1", "2", "3"))
    return (
        f"{report['rows']} examples in {topics['count']} topics, entropy "
        f"{topics['entropy_bits']:.2f} bits, evenness {topics['evenness']:.2f} (1: all of one "
        f"size). {report['turns']['single']} of one turn, {report['turns']['multi']} of several. "
        f"Lengths: {lengths}. Distinct n-grams (n) in {distinct['answers']} answers: {grams}."
    )


def _topics(topics: Mapping[str, Any]) -> str:
    sizes = topics["sizes"][:MAX_TOPICS]
    lines = [(_cell(own["name"]), own["rows"], f"{own['share']:.1%}") for own in sizes]
    rest = len(topics["sizes"]) - len(sizes)
    more = f"\n\nand {rest} smaller topics." if rest else ""
    return _table(("Topic", "Examples", "Share"), lines) + more if lines else ""


def _traffic(traffic: Mapping[str, Any] | None) -> str:
    if traffic is None:
        return ""
    told = (
        f"Against {traffic['interactions']} interactions in production: {traffic['distance']:.1%} "
        "of them are of topics that the examples have too little of."
    )
    lines = [
        (_cell(own["name"]), f"{own['share']:.1%}", f"{own['traffic_share']:.1%}")
        for own in traffic["under_represented"]
    ]
    if not lines:
        return told + " No topic has less than half of its share."
    return told + "\n\n" + _table(("Under-represented topic", "Examples", "Production"), lines)


def _histogram(tokens: Sequence[Mapping[str, Any]]) -> Iterable[tuple[str, int]]:
    below = 0
    for bin_ in tokens:
        bound = bin_["up_to"]
        yield (f"{below}-{bound}" if bound else f"over {below - 1}"), bin_["rows"]
        below = (bound or 0) + 1


def _languages(languages: Mapping[str, int]) -> str:
    total = sum(languages.values())
    return _counts("Language", list(languages.items())[:MAX_LANGUAGES], total)


def _counts(title: str, counts: Iterable[tuple[str, int]], total: int) -> str:
    lines = [(name, count, f"{count / total:.1%}") for name, count in counts if count]
    return _table((title, "Examples", "Share"), lines) if lines else ""


def _table(head: Sequence[str], lines: Iterable[Sequence[object]]) -> str:
    rule = "| --- |" + " ---: |" * (len(head) - 1)
    rows = (f"| {' | '.join(map(str, line))} |" for line in lines)
    return "\n".join((f"| {' | '.join(head)} |", rule, *rows))


def _cell(name: str) -> str:
    return name.replace("|", "\\|")


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.2f}"
