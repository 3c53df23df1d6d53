"""What is measured: direct, Ratchet twice, LiteLLM's proxy, vllm-router, each as a command.

A folder and the mock's port come in, started servers go out. Peers are installed from PyPI into
`bench/.envs/NAME` on first use, in the newest version that pip finds; the version is part of the
result. All run as one process with their logs at warnings. Knows nothing of loads.
"""

from __future__ import annotations

import subprocess
import sys
import time
import venv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from shutil import rmtree

from bench.gateway.process import Server, StartError, free_port, start, wait_until_up

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENTS = ROOT / "bench" / ".envs"
INSTALL_TIMEOUT_S = 900.0
START_TIMEOUT_S = 90.0  # LiteLLM imports for some 10 s on a core that others use too
MODEL = "bench"  # the application of Ratchet, so that its requests are routed and not just passed
KEY = "bench-key-0123456789"

_TELL_VERSION = "import importlib.metadata as m, sys; print(m.version(sys.argv[1]))"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Place:
    """Where a target is to run: its folder, the mock behind it, the core it has to itself."""

    folder: Path
    upstream_port: int
    core: int | None


@dataclass(frozen=True)
class Launch:
    """How a target is started, and which path says that it is up."""

    command: tuple[str, ...]
    ready: str
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True)
class Target:
    """A name, the package it comes from (None: it is ours), and how it is launched on a port."""

    name: str
    package: str | None
    launch: Callable[[Place, int], Launch]

    def version(self) -> str:
        """Return the version that is installed."""
        if self.package is None:
            return version("ratchet-llm")
        name = self.package.partition("[")[0]
        told = subprocess.run(
            [
                _python(self.name),
                "-c",
                f"import importlib.metadata as m; print(m.version({name!r}))",
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        return told.stdout.strip()


def started(target: Target, place: Place, say: Say) -> Server:
    """Return the target up and answering; peers are installed if need be.

    Raises: StartError.
    """
    if target.package is not None:
        install(target.name, target.package, say)
    say(f"starting {target.name}")
    folder = place.folder / target.name
    folder.mkdir()
    port = free_port()
    launch = target.launch(Place(folder, place.upstream_port, place.core), port)
    log = folder / "output.log"
    server = start(
        target.name,
        launch.command,
        port,
        log=log,
        core=place.core,
        environment={"PWD": str(ROOT), **launch.environment},
    )
    try:
        wait_until_up(server, launch.ready, log=log, timeout_s=START_TIMEOUT_S)
    except StartError:
        server.stop()
        raise
    return server


def install(name: str, package: str, say: Say) -> None:
    """Make the environment of a peer, unless it is there.

    Raises: StartError when pip fails; the half-made environment is removed.
    """
    folder = ENVIRONMENTS / name
    done = folder / "installed"
    if done.is_file():
        return
    rmtree(folder, ignore_errors=True)
    began_s = time.monotonic()
    say(f"installing {package} into {folder.relative_to(ROOT)}, once (a minute or two)")
    venv.create(folder, with_pip=True)
    pip = [_python(name), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    told = subprocess.run(
        [*pip, package], capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S
    )
    if told.returncode != 0:
        rmtree(folder, ignore_errors=True)
        raise StartError(f"{package} cannot be installed: {told.stderr.strip()[-400:]}")
    done.touch()
    say(f"installed {package} in {time.monotonic() - began_s:.0f} s")


def _python(name: str) -> str:
    return str(ENVIRONMENTS / name / "bin" / "python")


def _ratchet(mode: str) -> Callable[[Place, int], Launch]:
    def launch(place: Place, port: int) -> Launch:
        settings = place.folder / "ratchet.toml"
        settings.write_text(
            f'data_dir = "{place.folder / "data"}"\nlog_level = "WARNING"\n'
            f'[applications.{MODEL}]\napi_key = "{KEY}"\n'
            f"[engine]\nport = {place.upstream_port}\n[gateway]\nport = {port}\n"
            f'[log]\nmode = "{mode}"\n'
        )
        # -m: the code beside this file, whatever `ratchet` on the path may be
        command = (sys.executable, "-m", "loop.cli", "--settings", str(settings), "gateway")
        return Launch(command, "/health/ready")

    return launch


def _litellm(place: Place, port: int) -> Launch:
    config = place.folder / "config.yaml"
    config.write_text(
        f"model_list:\n  - model_name: {MODEL}\n    litellm_params:\n      model: openai/base\n"
        f"      api_base: http://127.0.0.1:{place.upstream_port}/v1\n      api_key: none\n"
        f"general_settings:\n  master_key: {KEY}\n"
        "litellm_settings:\n  telemetry: false\n  request_timeout: 60\n"
    )
    program = str(ENVIRONMENTS / "litellm" / "bin" / "litellm")
    arguments = ("--config", str(config), "--host", "127.0.0.1", "--port", str(port))
    return Launch(
        (program, *arguments, "--num_workers", "1"),
        "/health/liveliness",
        # its own advice for production: warnings only; prices from the package, not the network
        {
            "LITELLM_LOG": "ERROR",
            "LITELLM_MODE": "PRODUCTION",
            "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        },
    )


def _vllm_router(place: Place, port: int) -> Launch:
    program = str(ENVIRONMENTS / "vllm-router" / "bin" / "vllm-router")
    arguments = (
        *("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(free_port())),
        *("--worker-urls", f"http://127.0.0.1:{place.upstream_port}"),
        *("--policy", "round_robin", "--log-level", "warning"),
        *("--worker-startup-check-interval", "1"),  # its 30 s only make the start slow
    )
    return Launch((program, *arguments), "/health")


TARGETS = {
    target.name: target
    for target in (
        Target("ratchet-durable", None, _ratchet("durable")),
        Target("ratchet-async", None, _ratchet("async")),
        Target("litellm", "litellm[proxy]", _litellm),
        Target("vllm-router", "vllm-router", _vllm_router),
    )
}
