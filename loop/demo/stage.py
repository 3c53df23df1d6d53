"""Where the demo plays: its folder, its settings file, free ports, and the clock of its phases.

Everything of a demo lies in one folder, made anew each time; the service runs there on real
parts with ordinary settings, except that a canary's day is a minute.
"""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from core.errors import SettingsError
from core.files import write_atomic
from core.settings import Settings, load_settings
from loop.demo.result import Phase
from loop.service import require_no_service

APPLICATION = "desk"
MARK = "made-by-ratchet-demo"  # only a folder with this file is ever emptied
DATA = "data"  # the service's data folder inside it
RECIPE = Path(__file__).with_name("sft-desk.toml")

# Tolerances, steps, windows and shares of new data: docs/decisions/0010, chosen so that a few
# hundred answers decide.
SETTINGS = """
data_dir = {data_dir}

[applications.{application}]
api_key = "{api_key}"

[engine]
model = {model}
port = {engine_port}
max_adapters = 2
max_lora_rank = 16
max_model_len = 512

[gateway]
port = {gateway_port}

[console]
port = {console_port}

[retrain]
recipe = {recipe}
cooldown_s = 0
automatic = false
growth_trigger = 1.0
growth_must = 1.0
incremental_max_share = 0.8

[gate]
examples = 24
max_drop = 0.2
max_doubt = 0.4

[canary]
shares = [0.2, 0.5]
step_min_exposures = 10
step_min_s = 5
min_ratings = 20
min_s = 10
deadline_s = 900
guardrails = ["error", "latency"]
alpha_guardrail = 0.025
error_tolerance = 0.15
latency_over_s = 30
latency_tolerance = 0.15
holdback = 0.1
watch_s = 15
check_every_s = 1

[monitoring]
every_s = 2
settle_s = 8
window_interactions = 100
healthy_interactions = 100

[drift]
evidently = "never"

[scheduler]
drift_every_s = 2
plans_every_s = 3
"""


@dataclass
class PhaseClock:
    """How long each named phase of the demo took."""

    began: float = field(default_factory=time.monotonic)
    began_unix_s: float = field(default_factory=time.time)
    phases: list[Phase] = field(default_factory=list[Phase])

    @contextmanager
    def phase(self, name: str) -> Generator[None]:
        """Time what happens inside."""
        start = time.monotonic()
        yield
        self.phases.append(Phase(name, start - self.began, time.monotonic() - start))


def empty_folder(folder: Path) -> None:
    """Make `folder` new and empty; one that this demo did not make is left alone.

    Raises: SettingsError if it holds something else, StateError if a demo runs there now.
    """
    place = folder.resolve()
    if place.exists() and not place.is_dir():
        raise SettingsError(f"{place} is not a folder: name another one with --folder")
    if place.is_dir() and any(place.iterdir()):
        if not (place / MARK).exists():
            raise SettingsError(
                f"{place} holds files that are not the demo's: "
                "name another folder with --folder, or move them away"
            )
        require_no_service(place / DATA)
        shutil.rmtree(place)
    place.mkdir(parents=True, exist_ok=True)
    (place / MARK).touch()


def write_settings(folder: Path, model: Path) -> tuple[Path, Settings]:
    """Write the demo's settings file; return it and what it says.

    Raises: SettingsError when the base model is not there.
    """
    if not (model / "config.json").is_file():
        raise SettingsError(f"no base model in {model.resolve()}: run `make setup` first")
    engine_port, gateway_port, console_port = _free_ports(3)
    file = folder / "ratchet.toml"
    text = SETTINGS.format(
        data_dir=_toml(folder.resolve() / DATA),
        application=APPLICATION,
        api_key=f"demo-{secrets.token_hex(16)}",
        model=_toml(model.resolve()),
        engine_port=engine_port,
        gateway_port=gateway_port,
        console_port=console_port,
        recipe=_toml(RECIPE),
    )
    write_atomic(file, text.lstrip())
    return file, load_settings(file)


def set_automatic(file: Path, automatic: bool) -> None:
    """Say in the demo's settings file whether the service trains by itself."""
    text = file.read_text(encoding="utf-8")
    words = {value: f"automatic = {json.dumps(value)}\n" for value in (True, False)}
    write_atomic(file, text.replace(words[not automatic], words[automatic]))


def _toml(path: Path) -> str:
    return json.dumps(str(path), ensure_ascii=False)  # JSON's strings are TOML's basic strings


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
