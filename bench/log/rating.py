"""Feedback over HTTP at a steady rate, while its interactions are in the spool and nowhere else."""

from __future__ import annotations

import http.client
import json
import statistics
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.gateway.figures import percentile
from bench.gateway.load import Plan, run_load
from bench.gateway.process import Server, free_port, start, wait_until_up
from bench.gateway.targets import KEY, MODEL, ROOT
from bench.log.figures import Extent

ANSWERS = 200  # that are rated in turn
UP_S = 60.0
NO_LIMIT = 10_000_000
WARM_SHARE = 0.2  # of the measured time, before it


def measure_feedback(folder: Path, extent: Extent) -> dict[str, Any]:
    """Return p50 and p99 of feedback through a real gateway, from the scheduled moment."""
    engine_port, port = free_port(), free_port()
    command = (sys.executable, "-m", "bench.gateway.upstream", "--port", str(engine_port))
    log = folder / "engine.log"
    engine = start("engine", command, engine_port, log=log, core=None, environment={})
    try:
        wait_until_up(engine, "/health", log=log, timeout_s=UP_S)
        gateway = _gateway(folder, engine_port, port)
        try:
            return _rated(port, extent)
        finally:
            gateway.stop()
    finally:
        engine.stop()


def _gateway(folder: Path, engine_port: int, port: int) -> Server:
    file, log = folder / "ratchet.toml", folder / "gateway.log"
    file.write_text(
        f'data_dir = "{folder / "data"}"\nlog_level = "WARNING"\n'
        f'[applications.{MODEL}]\napi_key = "{KEY}"\n'
        f"[engine]\nport = {engine_port}\n[gateway]\nport = {port}\n"
        f"[feedback]\nper_subject_per_minute = {NO_LIMIT}\nper_address_per_minute = {NO_LIMIT}\n"
    )
    command = (sys.executable, "-m", "loop.cli", "--settings", str(file), "gateway")
    gateway = start("gateway", command, port, log=log, core=None, environment={"PWD": str(ROOT)})
    wait_until_up(gateway, "/health/ready", log=log, timeout_s=UP_S)
    return gateway


def _rated(port: int, extent: Extent) -> dict[str, Any]:
    bodies = [_rating(_receipt(port, number)) for number in range(ANSWERS)]
    plan = Plan(
        port=port,
        path="/v1/feedback",
        body=bodies[0],
        more_bodies=bodies[1:],
        headers={},
        status=201,
        rate_per_s=extent.feedback_per_s,
        duration_s=extent.feedback_s,
    )
    _warm_up(plan, extent)
    report = run_load(plan)
    return {
        "per_s": extent.feedback_per_s,
        "sent": report.sent,
        "failed": report.failed + report.unfinished,
        "faults": report.faults,
        "p50_ms": 1000 * statistics.median(report.latencies_s),
        "p99_ms": 1000 * percentile(report.latencies_s, 0.99),
        "late_p99_ms": 1000 * percentile(report.late_s, 0.99),
    }


def _warm_up(plan: Plan, extent: Extent) -> None:
    run_load(replace(plan, duration_s=WARM_SHARE * extent.feedback_s, seed=1))
    time.sleep(0.5)


def _receipt(port: int, number: int) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    body = {
        "model": MODEL,
        "user": f"user-{number}",
        "messages": [{"role": "user", "content": "Where is my parcel?"}],
    }
    headers = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
    try:
        connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
        answer = connection.getresponse()
        answer.read()
        return answer.headers["x-ratchet-receipt"]
    finally:
        connection.close()


def _rating(receipt: str) -> str:
    return json.dumps({"receipt": receipt, "kind": "thumbs", "value": True})
