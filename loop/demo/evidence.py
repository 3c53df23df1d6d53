"""What the demo left behind, read as values of its report.

In come the crowd's JSON lines and a rollout's stored verdicts; out come `SeenAnswer`, `Sample`
and `RolloutTrack`. Reads files and rows, writes nothing. Knows nothing of how the report looks.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from core.canary_settings import rules_of
from core.clock import as_utc
from feedback.tables import Rollout, VerdictRecord
from loop.demo.result import RolloutTrack, Sample, SeenAnswer

CPU_FILE = Path("/proc/cpuinfo")


def read_records(file: Path) -> list[dict[str, Any]]:
    """Return the crowd's interactions, one for each line; a line cut off by a kill is left out."""
    lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
    return [json.loads(line) for line in lines if line.endswith("\n")]


def seen_answers(records: Sequence[dict[str, Any]], began: float) -> tuple[SeenAnswer, ...]:
    """Return the answered interactions in order of time; `began` is the demo's start (unix s)."""
    answered = sorted((r for r in records if r["error"] is None), key=lambda r: r["time"])
    return tuple(SeenAnswer(r["time"] - began, r["adapter"], r["good"]) for r in answered)


def pick_samples(
    base: Sequence[dict[str, Any]], promoted: Sequence[dict[str, Any]], count: int
) -> tuple[Sample, ...]:
    """Return `count` held-out questions with both answers, of as many facts, at even distances.

    They are not chosen by how good they are: a reader sees failures in their true share.
    """
    after = {record["question"]: record for record in promoted}
    one_of_fact = {r["fact"]: r for r in base if r["question"] in after}
    pairs = [(r, after[r["question"]]) for _, r in sorted(one_of_fact.items())]
    count = min(count, len(pairs))
    chosen = [pairs[place * len(pairs) // count] for place in range(count)]
    return tuple(
        Sample(b["question"], b["text"], b["good"], p["text"], p["good"]) for b, p in chosen
    )


def rollout_track(
    rollout: Rollout, records: Sequence[VerdictRecord], report_file: str | None = None
) -> RolloutTrack:
    """Return the rollout's verdicts before the watch as plain lists; the last one decided."""
    rules = rules_of(rollout.settings)
    began = as_utc(rollout.created_at)
    judged = sorted((r for r in records if r.state == "canary"), key=lambda r: r.created_at)
    return RolloutTrack(
        times_s=tuple((as_utc(r.created_at) - began).total_seconds() for r in judged),
        share=tuple(r.share for r in judged),
        better_log10=tuple(r.numbers["evidence"]["better"]["log10"] for r in judged),
        worse_log10=tuple(r.numbers["evidence"]["worse"]["log10"] for r in judged),
        promote_at_log10=-math.log10(rules.alpha_promote),
        roll_back_at_log10=-math.log10(rules.alpha_roll_back),
        report_file=report_file,
    )


def machine_facts(cpu_file: Path = CPU_FILE) -> dict[str, Any]:
    """Return what the demo ran on: usable cores, the processor's name, memory in GiB."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cores": cores,
        "cpu": _cpu_name(cpu_file),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
    }


def _cpu_name(cpu_file: Path) -> str:
    if not cpu_file.is_file():
        return "unknown"
    lines = cpu_file.read_text(encoding="utf-8").splitlines()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "unknown")
