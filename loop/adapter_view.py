"""How the command line draws adapters: tables and plain lines on one console.

Takes rows and plain values; names and texts are printed as they are, without markup. Decides
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.text import Text

from loop.terminal import out, print_table

if TYPE_CHECKING:  # `ratchet --help` answers before these are loaded
    from retrain.registry.difference import Change, Distance


def draw_list(adapters: Sequence[Mapping[str, Any]]) -> None:
    """Print a table of adapters."""
    print_table(
        ("adapter", "status", "gate", "override by", "method", "dataset", "created"),
        [
            (
                *(row["name"], row["standing"], str(row["gate"].get("decision", "none"))),
                *(row["override_by"] or "", _method(row), row["dataset_id"]),
                row["created_at"][:16].replace("T", " "),
            )
            for row in adapters
        ],
    )


def draw_adapter(facts: Mapping[str, Any]) -> None:
    """Print what `show` tells of one adapter."""
    say(f"{facts['name']} of {facts['application']}: {facts['standing']}")
    if facts["override_by"]:
        say(f"PAST THE GATE by {facts['override_by']}: {facts['override_reason']}")
    say(f"{_method(facts)} on {facts['base_model']}, in {facts['path']}")
    say(f"content hash {facts['content_hash']}")
    say(f"gate: {facts['gate'].get('decision', 'none')}")
    for reason in facts["gate"].get("reasons", []):
        say(f"  {reason}")
    say("made of: " + " -> ".join(facts["lineage"]))
    for rollout in facts["rollouts"]:
        say(f"rollout {rollout['id']}: {rollout['state']} at {rollout['share']:.0%}")
    for erasure in facts["tainted_by"]:
        say(f"tainted by erasure {erasure}: `ratchet subject erasures` tells of it")
    metrics = facts["model_metadata"].get("metrics", {})
    print_table(("metric", "value"), [(name, _value(value)) for name, value in metrics.items()])


def draw_difference(changes: Sequence[Change], distance: Distance | None) -> None:
    """Print what differs, and how far apart the weights are."""
    rows = [(change.field, _value(change.old), _value(change.new)) for change in changes]
    print_table(("field", "old", "new"), rows)
    if distance is None:
        say("weights: not compared, one of both is no LoRA")
        return
    say(
        f"weights: {distance.relative:.1%} apart, cosine {distance.cosine:.3f}; "
        f"most in {', '.join(distance.furthest)}"
    )


def say(text: str) -> None:
    """Print a line as it is."""
    out.print(Text(text), soft_wrap=True)


def _method(row: Mapping[str, Any]) -> str:
    rank = f" r={row['rank']}" if row["rank"] else ""
    return f"{row['method']}{rank}" + ("" if row["servable"] else ", not hot-served")


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
