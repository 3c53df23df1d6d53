"""CURATE: what each stage of a build kept and dropped, for the manifest and for error messages.

Stages are run through the ledger in order; it counts, reports progress, and stops the build as
soon as too few candidates are left. Knows nothing of what the stages do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ParamSpec, TypeVar

from core.errors import DataError
from curation.candidates import Drop, Sieved

Progress = Callable[[str, int, int], None]  # stage that begins, stages finished, stages in all

SAMPLES = 5  # of drops, per stage

P = ParamSpec("P")
S = TypeVar("S", bound=Sieved)


class Ledger:
    """The stages of one build so far."""

    def __init__(
        self,
        application: str,
        stages: Sequence[str],
        min_examples: int,
        progress: Progress | None = None,
    ) -> None:
        self.entries: list[dict[str, Any]] = []
        self._application = application
        self._stages = stages
        self._min_examples = min_examples
        self._progress = progress

    def begin(self, name: str) -> None:
        """Report that stage `name` begins."""
        if self._progress is not None:
            self._progress(name, self._stages.index(name), len(self._stages))

    def run(self, name: str, stage: Callable[P, S], *args: P.args, **kwargs: P.kwargs) -> S:
        """Return what `stage` returns, once it is counted.

        Raises: DataError when fewer candidates are left than a dataset needs.
        """
        self.begin(name)
        sieved = stage(*args, **kwargs)
        self.entries.append(_entry(name, sieved))
        if len(sieved.kept) < self._min_examples:
            raise DataError(self._too_few(len(sieved.kept)))
        return sieved

    def _too_few(self, left: int) -> str:
        lost = Counter[str]()
        for entry in self.entries:
            lost.update(entry["dropped"])
        reasons = ", ".join(f"{count} {reason}" for reason, count in lost.most_common())
        return (
            f"application {self._application} has {left} usable examples, and a dataset needs "
            f"{self._min_examples} (dropped: {reasons or 'none'}): gather more approvals and "
            "corrections, or lower curation.min_examples"
        )


def _entry(name: str, sieved: Sieved) -> dict[str, Any]:
    reasons = Counter(drop.reason for drop in sieved.dropped)
    return {
        "name": name,
        "before": len(sieved.kept) + len(sieved.dropped),
        "after": len(sieved.kept),
        "changed": sieved.changed,
        "dropped": dict(reasons.most_common()),
        "samples": [_sample(drop) for drop in sieved.dropped[:SAMPLES]],
    }


def _sample(drop: Drop) -> dict[str, str]:
    sample = {"interaction_id": drop.interaction_id, "reason": drop.reason}
    return {**sample, "detail": drop.detail} if drop.detail else sample
