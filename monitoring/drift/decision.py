"""None, watch or act: what follows from a window's findings and from those before it.

DETECT's decision about drift. `act` needs a difference that is sure after correction, larger than
what matters, mendable by training, and either large or there in consecutive windows; it is not
repeated before the cool-down is over. `watch` needs the first two in one window. Pure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.drift_settings import DriftSettings
from monitoring.drift.comparison import Comparison, Finding

Severity = Literal["none", "watch", "act"]
TOLD = 3  # columns of a reason; the report has all


@dataclass(frozen=True)
class Past:
    """What earlier windows of the same adapter found, and how long ago drift was acted on."""

    drifted: Sequence[frozenset[str]] = ()  # columns by window, the newest last, without a gap
    since_act_s: float | None = None  # None: never


@dataclass(frozen=True)
class Decision:
    """The severity, and why in a sentence."""

    severity: Severity
    reason: str
    drifted: tuple[str, ...]  # columns, the largest first


def decide(comparison: Comparison, past: Past, rules: DriftSettings) -> Decision:
    """Return what to do about the comparison that decides."""
    drifted = comparison.drifted(rules.alpha)
    names = tuple(finding.column.name for finding in drifted)
    if not drifted:
        return Decision("none", _nothing(comparison), names)
    told = _told(drifted, rules)
    grave = next((f for f in drifted if _is_grave(f, past, rules)), None)
    if grave is None:
        return Decision("watch", f"{told} ({_waiting(drifted, rules)})", names)
    if past.since_act_s is not None and past.since_act_s < rules.cooldown_s:
        ago = f"acted on {past.since_act_s:.0f} s ago, cool-down {rules.cooldown_s:.0f} s"
        return Decision("watch", f"{told} ({ago})", names)
    cause = "large" if grave.large else f"in {rules.persistence_windows} consecutive windows"
    return Decision("act", f"{told} ({grave.column.title}: {cause})", names)


def _told(drifted: Sequence[Finding], rules: DriftSettings) -> str:
    """Return the first columns in words, those that training can mend before all others."""
    first = sorted(drifted, key=lambda finding: finding.column.group not in rules.acts_on)
    told = "; ".join(sentence(finding) for finding in first[:TOLD])
    more = len(first) - TOLD
    return f"{told}; and {more} more column{'s' if more > 1 else ''}" if more > 0 else told


def _is_grave(finding: Finding, past: Past, rules: DriftSettings) -> bool:
    if finding.column.group not in rules.acts_on:
        return False
    earlier = past.drifted[len(past.drifted) - (rules.persistence_windows - 1) :]
    enough = len(past.drifted) >= rules.persistence_windows - 1
    return finding.large or (enough and all(finding.column.name in one for one in earlier))


def _waiting(drifted: Sequence[Finding], rules: DriftSettings) -> str:
    if any(finding.column.group in rules.acts_on for finding in drifted):
        return f"acted on when it is there in {rules.persistence_windows} consecutive windows"
    return "not mended by training: alerts look after it"


def _nothing(comparison: Comparison) -> str:
    tested = [finding for finding in comparison.findings if finding.p is not None]
    if not tested:
        return "nothing could be tested: too few rows"
    against = comparison.reference.replace("_", " ")
    return f"no drift against the {against} in {len(tested)} columns"


def sentence(finding: Finding) -> str:
    """Return the finding in words."""
    effects = ", ".join(
        f"{name.replace('_', ' ')} {size:.2g}" for name, size in finding.effects.items()
    )
    change = f" from {finding.before} to {finding.after}" if finding.before else " changed"
    return f"{finding.column.title}{change} ({effects}, corrected p {p_words(finding.adjusted_p)})"


def p_words(p: float) -> str:
    """Return a p-value for people."""
    return "below 0.0001" if p < 1e-4 else f"{p:.2g}"
