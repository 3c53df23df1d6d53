"""`ratchet console` as a process: it starts, ends when told, and says when its port is taken."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.ports import free_port

ROOT = Path(__file__).parents[2]
PATIENCE_S = 30.0


def started(folder: Path, port: int) -> subprocess.Popen[str]:
    """Start the command with settings of its own."""
    file = folder / "ratchet.toml"
    file.write_text(
        f'data_dir = "{folder}"\n[applications.desk]\napi_key = "desk-key"\n'
        f"[console]\nport = {port}\n"
    )
    command = (sys.executable, "-m", "loop.cli", "--settings", str(file), "console")
    return subprocess.Popen(
        command, cwd=ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def answers(port: int) -> bool:
    """Say whether it lives."""
    try:
        return httpx.get(f"http://127.0.0.1:{port}/health/live").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_when_told(tmp_path: Path, number: signal.Signals) -> None:
    """With code 0, also while a browser keeps its connection open."""
    port = free_port()
    with started(tmp_path, port) as process, httpx.Client() as browser:
        deadline = time.monotonic() + PATIENCE_S
        while not answers(port):
            assert process.poll() is None, process.communicate()[0]
            assert time.monotonic() < deadline, "it does not answer"
            time.sleep(0.05)
        assert browser.get(f"http://127.0.0.1:{port}/login").status_code == 200
        process.send_signal(number)
        told, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, told
    assert "Traceback" not in told


def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """With the setting that mends it."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with started(tmp_path, taken.getsockname()[1]) as process:
            told, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 1
    assert "console.port" in told
    assert "Traceback" not in told


def test_the_gateway_does_without_what_the_console_needs() -> None:
    """It starts within its 2 s."""
    code = "import sys, serving.server; sys.exit('jinja2' in sys.modules)"
    assert subprocess.run((sys.executable, "-c", code), cwd=ROOT, check=False).returncode == 0
