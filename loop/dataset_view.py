"""How the command line draws dataset versions: tables and plain lines on one console.

Takes the plain values of `dataset_facts` and of curation's diff. Texts of people and names are
printed as they are, without markup. Decides nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from loop.terminal import out, print_table

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from curation.dataset_diff import Change, DatasetDiff

SPLITS = ("train", "validation", "test", "safety")
COUNT_CHARS = 10
HASH_CHARS = 12


def draw_list(versions: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of versions."""
    print_table(
        ("dataset", "parent", "train", "validation", "test", "besides", "new", "created"),
        [
            (
                version["id"],
                version["parent"] or "none",
                *_splits(version["kinds"]["demonstration"], SPLITS[:3]),
                _besides(version["kinds"]),
                f"{version['new_rows']:,}",
                version["created_at"][:16].replace("T", " "),
            )
            for version in versions
        ],
    )


def draw_version(facts: Mapping[str, Any]) -> None:
    """Print what `show` tells."""
    say(f"{facts['id']} of {facts['application']}, parent {facts['parent'] or 'none'}")
    say(f"made {facts['created_at']}, in {facts['path']}")
    say(f"content hash {facts['content_hash']}")
    rows = [(kind, *_splits(counts, SPLITS)) for kind, counts in facts["kinds"].items()]
    print_table(("examples", *SPLITS), rows)
    _draw_stages(facts.get("stages", []))
    _draw_lineage(facts)
    if facts.get("coverage"):
        from curation.coverage_page import coverage_markdown

        say(coverage_markdown(facts["coverage"]).rstrip())


def draw_examples(examples: Sequence[Mapping[str, Any]]) -> None:
    """Print examples, each message after its role."""
    for example in examples:
        out.rule(
            Text(f"{example['example_id']} {example['kind']} {example['split']}"), align="left"
        )
        for column in ("messages", "prompt", "chosen", "rejected", "completion"):
            for message in example.get(column) or ():
                role = message["role"] if column in ("messages", "prompt") else column
                say(f"{role}: {message['content']}")
        for column in ("label", "category"):
            if example.get(column) is not None:
                say(f"{column}: {example[column]}")


def draw_diff(diff: DatasetDiff) -> None:
    """Print how one version differs from another."""
    say(f"{diff.before} → {diff.after}: {diff.common:,} examples in both")
    _draw_change("added", diff.added)
    _draw_change("removed", diff.removed)
    moved = diff.moved
    if moved.any:
        say(
            f"moved to another split: {moved.examples:,} examples, {moved.interactions:,} "
            f"interactions, {moved.subjects:,} subjects, such as {', '.join(moved.first[:3])}. "
            "This must never happen: what is tested may have been learnt before"
        )
    else:
        say("moved to another split: none, as it must be")
    rows = [(name, *map(str, counts)) for name, counts in diff.counts.items()]
    print_table(("examples", diff.before, diff.after), rows)
    if diff.settings:
        rows = [(name, *map(_short, values)) for name, values in diff.settings.items()]
        print_table(("setting", diff.before, diff.after), rows)
    dropped = [
        (f"{stage}: {reason}", *("no stage" if count is None else f"{count:,}" for count in both))
        for stage, reasons in diff.stages.items()
        for reason, both in reasons.items()
    ]
    if dropped:
        print_table(("dropped", diff.before, diff.after), dropped)
    for name, examples in diff.erased.items():
        if examples:
            say(f"erasures took {examples:,} examples out of {name} since it was made")


def say(words: str, console: Console = out) -> None:
    """Print plain words: brackets stay brackets."""
    console.print(Text(words), soft_wrap=True)


def _draw_change(word: str, change: Change) -> None:
    told = "; ".join(
        ", ".join(f"{count:,} {name}" for name, count in counts.items())
        for counts in change.by.values()
        if counts
    )
    say(f"{word}: {change.examples:,} examples" + (f" ({told})" if told else ""))


def _draw_stages(stages: Sequence[Mapping[str, Any]]) -> None:
    rows = [
        (
            stage["name"],
            f"{stage['before']:,}",
            f"{stage['after']:,}",
            f"{stage['changed']:,}",
            ", ".join(f"{count:,} {reason}" for reason, count in stage["dropped"].items()),
        )
        for stage in stages
    ]
    if rows:
        print_table(("stage", "before", "after", "changed", "dropped"), rows)


def _draw_lineage(facts: Mapping[str, Any]) -> None:
    lineage = facts.get("lineage", {})
    if lineage:
        sources = ", ".join(f"{count:,} {name}" for name, count in lineage["sources"].items())
        say(
            f"of {lineage['subjects']:,} subjects and {lineage['without_subject']:,} examples "
            f"without one, from {lineage['oldest']} to {lineage['newest']}: {sources}"
        )
    _draw_deciders(lineage)
    for word, names in (
        ("versions made of it", facts["children"]),
        ("runs", [f"{run['id']} ({run['mode']}, {run['status']})" for run in facts["runs"]]),
        ("adapters", [_adapter(adapter) for adapter in facts["adapters"]]),
        ("erasures", [_erasure(entry) for entry in facts["erasures"]]),
    ):
        say(f"{word}: {', '.join(names) or 'none'}")


def _draw_deciders(lineage: Mapping[str, Any]) -> None:
    from curation.card import deciders

    told = deciders(lineage.get("preferences"))
    if told:
        say(f"pairs decided by: {told}")


def _adapter(adapter: Mapping[str, Any]) -> str:
    tainted = ", tainted by an erasure" if adapter["tainted_by"] else ""
    return f"{adapter['name']} ({adapter['status']}{tainted})"


def _erasure(entry: Mapping[str, Any]) -> str:
    return f"{entry['erasure']} ({entry['examples']:,} examples, {entry['at'][:10]})"


def _splits(counts: Mapping[str, int], names: Sequence[str]) -> list[str]:
    return [f"{counts[name]:,}" if name in counts else "" for name in names]


def _besides(kinds: Mapping[str, Mapping[str, int]]) -> str:
    sums = {kind: sum(counts.values()) for kind, counts in kinds.items()}
    return ", ".join(f"{sums[kind]:,} {kind}" for kind in sums if kind != "demonstration")


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) < 64 else f"{text[:HASH_CHARS]}…"
