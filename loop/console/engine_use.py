"""How busy an engine is: what vLLM says of itself at `/metrics`.

An engine's base URL goes in, a few numbers come out, or None when it does not answer in time.
Asked beside a page, never while one waits. Source of the names: vLLM 0.32, v1/metrics/loggers.py.
"""

from __future__ import annotations

import re
import urllib.error
import urllib.request
from dataclasses import dataclass

TIMEOUT_S = 1.0
MAX_BYTES = 2_000_000
LINE = re.compile(r"^(vllm:\w+)(?:\{[^}]*\})?\s+([-+.\deE]+)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class EngineUse:
    """What it does now; `cache` is the share of its key-value cache in use, 0-1."""

    running: int
    waiting: int
    cache: float


def engine_use(url: str) -> EngineUse | None:
    """Return how busy the engine at `url` is, or None if it does not say."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/metrics", timeout=TIMEOUT_S) as answer:
            text = answer.read(MAX_BYTES).decode(errors="replace")
    except (urllib.error.URLError, OSError, ValueError):
        return None
    return parse_use(text)


def parse_use(text: str) -> EngineUse | None:
    """Return the numbers of a Prometheus text, or None if they are not in it."""
    found: dict[str, float] = {}
    for name, value in LINE.findall(text):
        found[name] = found.get(name, 0.0) + float(value)
    if "vllm:num_requests_running" not in found:
        return None
    return EngineUse(
        running=int(found["vllm:num_requests_running"]),
        waiting=int(found.get("vllm:num_requests_waiting", 0.0)),
        cache=found.get("vllm:kv_cache_usage_perc", 0.0),
    )
