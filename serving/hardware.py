"""SERVE: the machine's CPU or GPU in, the arguments and environment of vLLM out.

`detect` looks at the machine; `engine_arguments` and `engine_environment` are pure, so that the
choice for any machine can be tested on any other. Never imports torch: the question takes
milliseconds. Knows nothing of processes.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

from core.errors import SettingsError
from core.settings import EngineSettings

BASE_MODEL_NAME = "base"  # what the engine calls the model that it serves without an adapter
WORKER_EXTENSION = "serving.cpu_lora.WorkerExtension"

GIB = 1 << 30
# vLLM accepts no others. Source: vllm.config.lora.MaxLoRARanks, 0.32
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Prefix caching works by whole blocks and vLLM's CPU default of 128 tokens is longer than most
# system prompts; its attention kernel wants a multiple of 32. Source: vllm.platforms.cpu, 0.32
CPU_BLOCK_TOKENS = 32
# An eighth of the memory for the KV cache, within these: 1 GiB holds 23,000 tokens of
# SmolLM2-135M in float32, and the rest of the machine trains
KV_CACHE_GIB = (1, 16)

Build = Literal["cpu", "gpu"]


@dataclass(frozen=True, slots=True)
class Hardware:
    """What there is to run on."""

    cpu_flags: frozenset[str]
    cores: tuple[int, ...]  # ids this process may use
    memory_bytes: int
    gpus: int
    build: Build | None  # which vLLM is installed
    openmp: Path | None  # Intel's OpenMP library, to be preloaded

    @property
    def has_fast_bfloat16(self) -> bool:
        """Whether the CPU multiplies bfloat16 in hardware. Elsewhere vLLM emulates it.

        Source: measured with SmolLM2-135M on 2 cores. AMX: base model at 16 concurrent 418
        tokens/s in bfloat16 and 179 in float32. AVX2 only: 12.6 and 92.
        """
        return "amx_bf16" in self.cpu_flags


def detect(cpuinfo: Path = Path("/proc/cpuinfo"), devices: Path = Path("/dev")) -> Hardware:
    """Return the hardware of this machine as this process may use it."""
    return Hardware(
        cpu_flags=_cpu_flags(cpuinfo),
        cores=tuple(sorted(os.sched_getaffinity(0))),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        gpus=sum(path.name.removeprefix("nvidia").isdigit() for path in devices.glob("nvidia*")),
        build=_installed_build(),
        openmp=_find_openmp(Path(sys.prefix)),
    )


def device(hardware: Hardware, settings: EngineSettings) -> Build:
    """Return where the engine runs.

    Raises: SettingsError when the settings ask for a GPU that cannot be used.
    """
    usable = hardware.gpus > 0 and hardware.build != "cpu"
    if settings.device == "gpu" and not usable:
        reason = (
            "no NVIDIA device was found under /dev"
            if hardware.gpus == 0
            else "the installed vLLM is the CPU build"
        )
        raise SettingsError(
            f"engine.device is 'gpu', but {reason}: set it to 'auto' or 'cpu', "
            "or run `make setup ENGINE=gpu` on a machine with a GPU",
            field="engine.device",
        )
    return "gpu" if usable and settings.device != "cpu" else "cpu"


def engine_arguments(hardware: Hardware, settings: EngineSettings) -> tuple[str, ...]:
    """Return vLLM's command-line arguments for this hardware.

    Raises: SettingsError when the settings cannot be met.
    """
    where = device(hardware, settings)
    arguments = (
        *("--model", str(settings.model), "--served-model-name", BASE_MODEL_NAME),
        *("--host", settings.host, "--port", str(settings.port)),
        *("--dtype", _dtype(hardware, settings, where)),
        *("--max-model-len", str(settings.max_model_len)),
        *("--max-num-seqs", str(settings.max_concurrent)),
        "--enable-lora",
        *("--max-loras", str(settings.max_adapters)),
        *("--max-lora-rank", str(_served_rank(settings.max_lora_rank))),
        "--disable-uvicorn-access-log",
    )
    if where == "cpu":
        arguments += ("--block-size", str(CPU_BLOCK_TOKENS))
        arguments += ("--worker-extension-cls", WORKER_EXTENSION)
    return arguments + settings.extra_arguments


def engine_environment(
    hardware: Hardware,
    settings: EngineSettings,
    *,
    source_root: Path,
    inherited: Mapping[str, str],
) -> dict[str, str]:
    """Return the variables to set for vLLM on top of the `inherited` ones.

    `source_root` is the folder that holds our packages: vLLM's workers import one of them.
    """
    variables = {
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",  # the model is a local folder: nothing to ask a hub for
    }
    if device(hardware, settings) == "gpu":
        return variables
    if hardware.openmp is not None:
        variables["LD_PRELOAD"] = _prepend(str(hardware.openmp), inherited.get("LD_PRELOAD"))
    low, high = KV_CACHE_GIB
    kv_cache_gib = min(high, max(low, hardware.memory_bytes // GIB // 8))
    return variables | {
        "VLLM_CPU_KVCACHE_SPACE": str(kv_cache_gib),
        "VLLM_CPU_OMP_THREADS_BIND": core_ranges(hardware.cores),
        "PYTHONPATH": _prepend(str(source_root), inherited.get("PYTHONPATH")),
    }


def core_ranges(cores: Sequence[int]) -> str:
    """Return the cores as vLLM reads them: (0, 1, 2, 5) becomes `0-2,5`."""
    ranges: list[list[int]] = []
    for core in sorted(cores):
        if ranges and core == ranges[-1][1] + 1:
            ranges[-1][1] = core
        else:
            ranges.append([core, core])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in ranges)


def _dtype(hardware: Hardware, settings: EngineSettings, where: Build) -> str:
    if settings.dtype != "auto":
        return settings.dtype
    if where == "gpu":
        return "auto"
    return "bfloat16" if hardware.has_fast_bfloat16 else "float32"


def _prepend(first: str, rest: str | None) -> str:
    return f"{first}:{rest}" if rest else first


def _served_rank(rank: int) -> int:
    for served in LORA_RANKS:
        if served >= rank:
            return served
    raise SettingsError(
        f"engine.max_lora_rank is {rank}, vLLM serves at most {LORA_RANKS[-1]}: lower it",
        field="engine.max_lora_rank",
    )


def _cpu_flags(cpuinfo: Path) -> frozenset[str]:
    if not cpuinfo.is_file():
        return frozenset()
    for line in cpuinfo.read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in {"flags", "Features"}:  # x86, ARM
            return frozenset(value.split())
    return frozenset()


def _installed_build() -> Build | None:
    builds: dict[str, Build] = {"vllm-cpu": "cpu", "vllm": "gpu"}
    for distribution, build in builds.items():
        try:
            version(distribution)
        except PackageNotFoundError:
            continue
        return build
    return None


def _find_openmp(prefix: Path) -> Path | None:
    beside = prefix / "lib" / "libiomp5.so"
    if beside.is_file():
        return beside
    return next(iter(sorted(prefix.glob("lib/python*/site-packages/**/libiomp5.so"))), None)
