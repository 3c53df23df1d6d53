"""One window against one reference, column by column: how sure and how large each difference is.

Two samples come in, a `Comparison` goes out whose findings are sorted by size. The p-values of all
columns are corrected together. Says nothing of what to do: that is `decision`. Pure; the seed of
everything drawn is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from zlib import crc32

import numpy as np

from core.drift_settings import DriftSettings, EffectSettings
from monitoring.drift.columns import STREAM_SOURCE, STREAMS, Column, Reference, watched
from monitoring.drift.discovery import adjusted
from monitoring.drift.effects import (
    cliffs_delta,
    cohens_h,
    cramers_v,
    jensen_shannon,
    largest_fall,
    wasserstein,
)
from monitoring.drift.kernel import compare_vectors
from monitoring.drift.sample import Floats, Labels, Sample, present
from monitoring.drift.stream import Counts, newest_change
from monitoring.drift.twosample import flags_p, labels_p, numbers_p

SLOW_FALL = "rating_stream"  # the test with a part of alpha of its own


@dataclass(frozen=True)
class Finding:
    """One column's difference; `p` None: too few values to test it."""

    column: Column
    values: tuple[int, int] = (0, 0)  # of the reference, of the window
    p: float | None = None
    adjusted_p: float = 1.0
    effects: Mapping[str, float] = field(default_factory=dict[str, float])
    strength: float = 0.0  # the effect as a multiple of the smallest that matters
    large: bool = False
    before: str = ""  # for people
    after: str = ""
    # the largest effect that is not ruled out, as such a multiple; 0: not asked for
    possible: float = 0.0

    def drifted(self, alpha: float) -> bool:
        """Whether the difference is sure after correction, and large enough to matter.

        Of ratings, which are few: not shown to be too small to matter.
        """
        return self.adjusted_p <= alpha and max(self.strength, self.possible) >= 1.0


@dataclass(frozen=True)
class Comparison:
    """All findings of one window against one reference, the largest first."""

    reference: Reference
    findings: tuple[Finding, ...]

    def drifted(self, alpha: float) -> tuple[Finding, ...]:
        """Return the findings that are drift."""
        return tuple(finding for finding in self.findings if finding.drifted(alpha))


@dataclass(frozen=True)
class Compared:
    """What is compared: `recent` are the flags of the horizon's windows, this one last."""

    kind: Reference
    reference: Sample
    window: Sample
    recent: Sequence[Sample]


def compare(compared: Compared, rules: DriftSettings, seed: int) -> Comparison:
    """Return all findings of the window against the reference."""
    findings = [_column(column, compared, rules, seed) for column in watched(compared.kind)]
    if compared.kind == "healthy_week":
        findings += [_stream(column, compared, rules, seed) for column in STREAMS]
    return Comparison(compared.kind, tuple(_corrected(findings, rules)))


def _corrected(findings: Iterable[Finding], rules: DriftSettings) -> list[Finding]:
    """Return the findings with corrected p-values, the largest first and the untested last."""
    all_of_them = list(findings)
    tested = [finding for finding in all_of_them if finding.p is not None]
    weights = _weights([finding.column.name for finding in tested], rules)
    corrected = adjusted([finding.p for finding in tested if finding.p is not None], weights)
    done = [replace(one, adjusted_p=p) for one, p in zip(tested, corrected, strict=True)]
    done += [finding for finding in all_of_them if finding.p is None]
    return sorted(done, key=lambda one: (one.p is None, -one.strength, one.column.name))


def _weights(names: Sequence[str], rules: DriftSettings) -> list[float]:
    """Return each test's part of alpha: slow falls of ratings have theirs, others equal ones."""
    others = sum(name != SLOW_FALL for name in names)
    own = rules.slow_fall_alpha if others else 1.0
    rest = 1.0 - own if SLOW_FALL in names else 1.0
    return [own if name == SLOW_FALL else rest / others for name in names]


def _drawing(column: Column, seed: int) -> np.random.Generator:
    """Return a column's own generator: another one that is missing changes nothing here."""
    return np.random.default_rng((seed, crc32(column.name.encode())))


def _column(column: Column, compared: Compared, rules: DriftSettings, seed: int) -> Finding:
    generator = _drawing(column, seed)
    if column.kind == "number":
        return _number(column, compared, rules)
    if column.kind == "label":
        return _label(column, compared, rules, generator)
    if column.kind == "flag":
        return _flag(column, compared, rules)
    return _embedding(column, compared, rules, generator)


def _number(column: Column, compared: Compared, rules: DriftSettings) -> Finding:
    before = present(compared.reference.numbers.get(column.name, np.empty(0)))
    after = present(compared.window.numbers.get(column.name, np.empty(0)))
    found = Finding(column, (len(before), len(after)))
    if min(found.values) < rules.min_values:
        return found
    delta, distance = cliffs_delta(before, after), wasserstein(before, after)
    sizes = [(abs(delta), rules.cliffs_delta), (distance, rules.wasserstein)]
    return replace(
        found,
        p=numbers_p(before, after),
        effects={"cliffs_delta": delta, "wasserstein": distance},
        strength=_strength(*sizes),
        large=_is_large(*sizes),
        before=f"median {np.median(before):.4g}",
        after=f"median {np.median(after):.4g}",
    )


def _label(
    column: Column, compared: Compared, rules: DriftSettings, generator: np.random.Generator
) -> Finding:
    none = np.empty(0, dtype=np.str_)
    before = _some(compared.reference.labels.get(column.name, none))
    after = _some(compared.window.labels.get(column.name, none))
    found = Finding(column, (len(before), len(after)))
    if min(found.values) < rules.min_values:
        return found
    names, old, new = counted(before, after)
    shares = [(float(a), float(b)) for a, b in zip(old / old.sum(), new / new.sum(), strict=True)]
    changes = [abs(cohens_h(a, b)) for a, b in shares]
    most = int(np.argmax(changes))
    v = cramers_v(old, new)
    sizes = [(v, rules.cramers_v), (changes[most], rules.cohens_h)]
    return replace(
        found,
        p=labels_p(old, new, generator, rules.permutations),
        effects={
            "cramers_v": v,
            "jensen_shannon": jensen_shannon(old, new),
            "cohens_h": changes[most],
        },
        strength=_strength(*sizes),
        large=_is_large(*sizes),
        before=f"{names[most]}: {_percent(shares[most][0])}",
        after=f"{names[most]}: {_percent(shares[most][1])}",
    )


def _some(labels: Labels) -> Labels:
    return labels[labels != ""]


def counted(before: Labels, after: Labels) -> tuple[list[str], Floats, Floats]:
    """Return the labels of both, and how often each occurs before and after."""
    names, places = np.unique(np.concatenate([before, after]), return_inverse=True)
    old = np.bincount(places[: len(before)], minlength=len(names)).astype(np.float64)
    new = np.bincount(places[len(before) :], minlength=len(names)).astype(np.float64)
    return [str(name) for name in names], old, new


def _flag(column: Column, compared: Compared, rules: DriftSettings) -> Finding:
    before = present(compared.reference.flags.get(column.name, np.empty(0)))
    after = present(compared.window.flags.get(column.name, np.empty(0)))
    found = Finding(column, (len(before), len(after)))
    if min(found.values) < rules.min_values:
        return found
    old, new = (int(before.sum()), len(before)), (int(after.sum()), len(after))
    return _share_finding(found, flags_p(old, new, column.worse), (old, new), rules)


def _stream(column: Column, compared: Compared, rules: DriftSettings, seed: int) -> Finding:
    source, none = STREAM_SOURCE[column.name], np.empty(0)
    before = compared.reference.flags.get(source, none)
    windows = [one.flags.get(source, none) for one in compared.recent]
    found = Finding(column, (len(present(before)), sum(len(present(one)) for one in windows)))
    change = newest_change(
        before,
        windows,
        column.worse,
        _drawing(column, seed),
        min_values=rules.min_values,
        permutations=rules.permutations,
    )
    if change is None:
        return found
    found = replace(found, values=(found.values[0], change.after[1]))
    return _share_finding(found, change.p, (change.before, change.after), rules)


def _share_finding(
    found: Finding, p: float, sides: tuple[Counts, Counts], rules: DriftSettings
) -> Finding:
    before, after = (ones / values for ones, values in sides)
    name, size, rule = _share_effect(found.column, before, after, rules)
    possible = largest_fall(*sides) / before if name == "relative_drop" and before > 0.0 else 0.0
    return replace(
        found,
        p=p,
        effects={name: size},
        strength=_strength((size, rule)),
        large=_is_large((size, rule)),
        before=_percent(before),
        after=_percent(after),
        possible=possible / rule.small,
    )


def _share_effect(
    column: Column, before: float, after: float, rules: DriftSettings
) -> tuple[str, float, EffectSettings]:
    """Return the effect's name, its size towards the worse side (never negative), its sizes."""
    source = STREAM_SOURCE.get(column.name, column.name)
    if source == "rating":
        drop = (before - after) / before if before > 0.0 else 0.0
        return "relative_drop", max(0.0, drop), rules.rating_drop
    if source == "error":
        return "rise", max(0.0, after - before), rules.error_rise
    h = cohens_h(before, after)
    towards = {"up": h, "down": -h, "either": abs(h)}[column.worse]
    return "cohens_h", max(0.0, towards), rules.cohens_h


def _embedding(
    column: Column, compared: Compared, rules: DriftSettings, generator: np.random.Generator
) -> Finding:
    before, after = compared.reference.embedding, compared.window.embedding
    if before is None or after is None or before.shape[1] != after.shape[1]:
        return Finding(column)  # another encoder's vectors cannot be compared
    found = Finding(column, (len(before), len(after)))
    if min(found.values) < rules.min_values:
        return found
    kernel = compare_vectors(
        before,
        after,
        generator,
        features=rules.embedding_features,
        rows=rules.embedding_rows,
        permutations=rules.permutations,
    )
    size = (kernel.delta, rules.cliffs_delta)
    return replace(
        found,
        p=kernel.p,
        effects={"cliffs_delta": kernel.delta, "mmd2": kernel.mmd2},
        strength=_strength(size),
        large=_is_large(size),
    )


def _strength(*sizes: tuple[float, EffectSettings]) -> float:
    return max(size / rule.small for size, rule in sizes)


def _is_large(*sizes: tuple[float, EffectSettings]) -> bool:
    return any(size >= rule.large for size, rule in sizes)


def _percent(share: float) -> str:
    return f"{100.0 * share:.3g} %"
