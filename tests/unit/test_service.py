"""The service starts its processes, keeps them, and leaves none behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from core.errors import SettingsError, StateError
from core.settings import ConsoleSettings, EngineSettings, GatewaySettings, Settings
from loop.service import (
    Pace,
    Process,
    Service,
    require_no_service,
    running_service,
    stop_all,
    stopped_by_signals,
)
from tests.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
HASTY = Pace(first_delay_s=0.05, longest_delay_s=0.15, settled_s=0.0)


def script(folder: Path, code: str, pace: Pace = HASTY) -> Process:
    """Return a process that runs `code`."""
    command = (sys.executable, "-S", "-c", code)
    return Process("tool", command, folder / "logs" / "tool.log", dict(os.environ), pace)


@contextmanager
def kept(process: Process) -> Generator[Process]:
    """Start it, and stop it whatever happens."""
    process.start()
    try:
        yield process
    finally:
        stop_all([process], 5)


def wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    """Return when it holds; fail when it does not in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def ended(process: Process) -> bool:
    return process.child is not None and process.child.poll() is not None


def settings(folder: Path) -> Settings:
    return Settings(
        data_dir=folder / "data",
        engine=EngineSettings(port=free_port()),
        gateway=GatewaySettings(port=free_port()),
        console=ConsoleSettings(port=free_port()),
    )


def test_a_process_that_ends_at_once_is_an_error_with_its_last_words(tmp_path: Path) -> None:
    """The operator reads what it said, its code and where the whole log is."""
    with kept(script(tmp_path, "raise SystemExit('the port is mine')", Pace())) as process:
        wait_for(lambda: ended(process))
        with pytest.raises(StateError, match=r"tool ended at once with code 1(?s:.)*port is mine"):
            process.revive()
        assert process.starts == 1


def test_waiting_ends_when_a_process_cannot_start(tmp_path: Path) -> None:
    """However long its start took: before the service is ready nothing is started again."""
    with kept(script(tmp_path, "raise SystemExit('no model')")) as process:
        wait_for(lambda: ended(process))
        with pytest.raises(StateError, match="no model"):
            Service(settings(tmp_path), (process,)).wait_until_ready()


def test_a_process_that_ends_later_is_started_again_with_growing_delay(tmp_path: Path) -> None:
    """The delay doubles up to its limit; waiting for it holds up nobody."""
    pace = Pace(first_delay_s=0.05, longest_delay_s=0.15, settled_s=60.0)
    with kept(script(tmp_path, "pass", pace)) as process:
        process.started -= 120  # it has run for two minutes
        delays: list[float | None] = []
        for start in (2, 3, 4):
            wait_for(lambda: ended(process))
            before = time.monotonic()
            process.revive()
            assert process.starts == start - 1, "revive plans the start and does not wait for it"
            delays.append(process.delay_s)
            wait_for(partial(_revived, process, start))
            assert process.started - before >= (process.delay_s or 0) * 0.99
    assert delays == [0.05, 0.1, 0.15]


def test_a_start_that_lasted_makes_the_delay_short_again(tmp_path: Path) -> None:
    """A crash once a day never adds up to long pauses."""
    with kept(script(tmp_path, "pass", Pace(0.05, 10.0, settled_s=60.0))) as process:
        process.delay_s, process.starts = 8.0, 5
        process.started -= 120
        wait_for(lambda: ended(process))
        process.revive()
        assert process.delay_s == 0.05


def test_keeping_ends_when_it_is_told_to_stop(tmp_path: Path) -> None:
    """A process that waits for its next start does not delay the end."""
    with kept(script(tmp_path, "pass", Pace(60.0, 60.0, settled_s=0.0))) as process:
        service = Service(settings(tmp_path), (process,))
        threading.Timer(0.1, service.stopping.set).start()
        before = time.monotonic()
        service.keep()
        assert time.monotonic() - before < 2


def test_ctrl_c_while_starting_ends_the_waiting(tmp_path: Path) -> None:
    """Nobody has to wait until an engine is up in order to stop it."""
    before = signal.getsignal(signal.SIGINT)
    with kept(script(tmp_path, "import time; time.sleep(60)")) as process:
        service = Service(settings(tmp_path), (process,))
        with stopped_by_signals(service.stopping):
            signal.raise_signal(signal.SIGINT)
            assert service.wait_until_ready() is False
    assert signal.getsignal(signal.SIGINT) is before


def test_waiting_has_an_end(tmp_path: Path) -> None:
    """The error names the setting and where to look."""
    with kept(script(tmp_path, "import time; time.sleep(60)")) as process:
        hasty = settings(tmp_path).model_copy(
            update={"engine": EngineSettings(start_timeout_s=0.01, port=free_port())}
        )
        with pytest.raises(StateError, match=r"engine\.start_timeout_s"):
            Service(hasty, (process,)).wait_until_ready()


def test_a_process_can_be_started_again_alone(tmp_path: Path) -> None:
    """It reads its settings anew; the others go on."""
    one, other = (script(tmp_path, "import time; time.sleep(60)") for _ in range(2))
    one.name = "one"
    with kept(one), kept(other):
        before = (one.child, other.child)
        Service(settings(tmp_path), (one, other)).start_again("one")
        assert before[0] is not None
        assert before[0].poll() is not None
        assert one.is_running()
        assert one.child is not before[0]
        assert other.child is before[1]


def test_stopping_leaves_none_alive(tmp_path: Path) -> None:
    """Neither one that obeys, nor one that does not, nor one that was never started."""
    deaf = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    )
    processes = [script(tmp_path / str(n), c) for n, c in enumerate(("input()", deaf, "pass"))]
    for process in processes[:2]:
        process.start()
    wait_for(lambda: processes[1].log_path.read_text() == "\n")
    stop_all(processes, 0.2)
    assert [ended(process) for process in processes] == [True, True, False]
    assert processes[1].child is not None
    assert processes[1].child.returncode == -signal.SIGKILL


def test_a_process_that_missed_the_signal_is_asked_again(tmp_path: Path) -> None:
    """What is just being set up may ignore the first one, and need not be killed for that."""
    code = (
        "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); "
        "time.sleep(0.1); signal.signal(15, signal.SIG_DFL); time.sleep(60)"
    )
    with kept(script(tmp_path, code)) as process:
        wait_for(lambda: process.log_path.read_text() == "\n")
        stop_all([process], timeout_s=10, again_s=0.05)
        assert process.child is not None
        assert process.child.returncode == -signal.SIGTERM


def test_a_child_dies_with_its_parent(tmp_path: Path) -> None:
    """Also when the parent is killed and can stop nothing."""
    code = f"""
import os, sys
from pathlib import Path
from loop.service import Process
folder = Path({str(tmp_path)!r})
command = (sys.executable, "-S", "-c", "import time; time.sleep(60)")
child = Process("tool", command, folder / "log", dict(os.environ))
child.start()
print(child.child.pid, flush=True)
os.kill(os.getpid(), 9)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL
    pid = int(done.stdout)
    wait_for(lambda: not _is_alive(pid))


def test_a_data_folder_has_one_service_at_a_time(tmp_path: Path) -> None:
    """A second one is told so, with the first one's process; later the folder is free again."""
    chosen = settings(tmp_path)
    with running_service(chosen, None):
        with pytest.raises(StateError, match=rf"process {os.getpid()}.*data_dir"):
            running_service(chosen, None).__enter__()
        with pytest.raises(StateError, match="already"):
            require_no_service(chosen.data_dir)
    require_no_service(chosen.data_dir)


def test_a_taken_engine_port_stops_the_start(tmp_path: Path) -> None:
    """The error names the setting, and no process was started."""
    chosen = settings(tmp_path)
    same = chosen.model_copy(update={"gateway": GatewaySettings(port=free_port())})
    with (
        socket.create_server(("127.0.0.1", chosen.engine.port)),
        pytest.raises(SettingsError, match=r"set engine\.port"),
        running_service(same, None),
    ):
        pytest.fail("it started")
    assert not (chosen.data_dir / "logs").exists()


def _revived(process: Process, starts: int) -> bool:
    process.revive()
    return process.starts == starts


def _is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
