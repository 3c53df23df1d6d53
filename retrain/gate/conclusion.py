"""A job's result → what the gate says of it: for a run that ends, and for an adapter asked again.

A result goes in; the same result with its judge's scores, the verdict, and what is kept of it on
the adapter's row come out. Writes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import structlog

from core.gate_settings import GateSettings
from retrain.gate.judging import judged
from retrain.gate.verdict import Evaluated, GateVerdict, decide
from retrain.runs.spec import Comparison, JobResult

log = structlog.get_logger()


def conclude(folder: Path, result: JobResult, rules: GateSettings) -> tuple[JobResult, GateVerdict]:
    """Return the result with what the judge says of the answers in `folder`, and the verdict.

    Raises: SettingsError for a judge that does not judge.
    """
    result = replace(result, suites=judged(folder, result.suites, rules.judge, _tell_judging))
    pairs = {name: (pair.candidate, pair.live) for name, pair in result.evaluations.items()}
    return result, decide(Evaluated(pairs, result.suites, result.answering), rules)


def gate_facts(verdict: GateVerdict, result: JobResult, compared_with: str) -> dict[str, Any]:
    """Return the verdict with the held-out examples that were answered worse, by their hashes.

    Curation samples what is like them for review: hashes, since a person may ask to be erased.
    """
    return verdict.as_dict() | {
        "compared_with": compared_with,
        "failed": _failed(result.evaluations.values()),
        "answered_by": result.answered_by,
        "answering": {label: asdict(one) for label, one in result.answering.items()},
    }


def _failed(pairs: Iterable[Comparison]) -> list[str]:
    return sorted({key for pair in pairs for key in pair.failed})


def _tell_judging(done: int, total: int) -> None:
    log.info("gate_judging", judged=done, of=total)
