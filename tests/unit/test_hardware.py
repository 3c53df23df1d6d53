"""Settings of the engine follow the machine: what runs where, tested on any machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from core.errors import SettingsError
from core.settings import EngineSettings
from serving.hardware import (
    GIB,
    LORA_RANKS,
    Hardware,
    core_ranges,
    detect,
    device,
    engine_arguments,
    engine_environment,
)

AVX2 = Hardware(
    cpu_flags=frozenset({"avx2", "fma"}),
    cores=(0, 1),
    memory_bytes=24 * GIB,
    gpus=0,
    build="cpu",
    openmp=Path("/env/lib/libiomp5.so"),
)
AMX = replace(AVX2, cpu_flags=frozenset({"avx2", "avx512f", "avx512_bf16", "amx_bf16"}))
GPU = replace(AVX2, gpus=2, build="gpu", openmp=None)
SETTINGS = EngineSettings()


def option(arguments: Sequence[str], name: str) -> str:
    """Return the value that follows `name`."""
    return arguments[list(arguments).index(name) + 1]


def environment(hardware: Hardware, **inherited: str) -> dict[str, str]:
    return engine_environment(hardware, SETTINGS, source_root=Path("/src"), inherited=inherited)


@pytest.mark.parametrize(
    ("hardware", "expected"),
    [
        (AVX2, "float32"),
        (replace(AMX, cpu_flags=AMX.cpu_flags - {"amx_bf16"}), "float32"),
        (AMX, "bfloat16"),
        (GPU, "auto"),
    ],
)
def test_the_dtype_follows_the_hardware(hardware: Hardware, expected: str) -> None:
    """bfloat16 on a CPU only where it is multiplied in hardware; a GPU decides by itself."""
    assert option(engine_arguments(hardware, SETTINGS), "--dtype") == expected


def test_a_dtype_in_the_settings_wins() -> None:
    """Who sets it knows why."""
    settings = EngineSettings(dtype="bfloat16")
    assert option(engine_arguments(AVX2, settings), "--dtype") == "bfloat16"


def test_a_cpu_engine_gets_its_threads_and_libraries() -> None:
    """Threads are bound to the cores that we may use, and Intel's OpenMP is loaded first."""
    variables = environment(AVX2, LD_PRELOAD="/lib/other.so", PYTHONPATH="/mine")
    assert variables["VLLM_CPU_OMP_THREADS_BIND"] == "0-1"
    assert variables["LD_PRELOAD"] == "/env/lib/libiomp5.so:/lib/other.so"
    assert variables["PYTHONPATH"] == "/src:/mine"
    assert variables["VLLM_CPU_KVCACHE_SPACE"] == "3"
    assert variables["HF_HUB_OFFLINE"] == "1"


def test_the_kv_cache_stays_within_bounds() -> None:
    """At least 1 GiB, at most 16, in between an eighth of the memory."""
    sizes = [
        environment(replace(AVX2, memory_bytes=memory * GIB))["VLLM_CPU_KVCACHE_SPACE"]
        for memory in (4, 64, 1024)
    ]
    assert sizes == ["1", "8", "16"]


def test_without_openmp_nothing_is_preloaded() -> None:
    """A library that is not there is not asked for."""
    assert "LD_PRELOAD" not in environment(replace(AVX2, openmp=None))


def test_a_gpu_engine_gets_no_cpu_settings() -> None:
    """The worker extension and the thread binding are for CPUs only."""
    arguments = engine_arguments(GPU, SETTINGS)
    assert "--worker-extension-cls" not in arguments
    assert not {"LD_PRELOAD", "VLLM_CPU_OMP_THREADS_BIND"} & set(environment(GPU))


def test_runtime_adapters_are_allowed_and_statistics_are_not_sent() -> None:
    """Both engines load adapters at run time and tell nobody about it."""
    for hardware in (AVX2, GPU):
        variables = environment(hardware)
        assert variables["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] == "1"
        assert variables["VLLM_NO_USAGE_STATS"] == variables["DO_NOT_TRACK"] == "1"


@pytest.mark.parametrize(("rank", "served"), [(1, "1"), (4, "8"), (16, "16"), (17, "32")])
def test_the_rank_is_rounded_up_to_one_that_vllm_serves(rank: int, served: str) -> None:
    """vLLM takes only some maxima; the next larger one holds ours."""
    arguments = engine_arguments(AVX2, EngineSettings(max_lora_rank=rank))
    assert option(arguments, "--max-lora-rank") == served


def test_a_rank_beyond_vllm_is_refused() -> None:
    """The error names the setting and the limit."""
    with pytest.raises(SettingsError, match=str(LORA_RANKS[-1])):
        engine_arguments(AVX2, EngineSettings(max_lora_rank=513))


def test_extra_arguments_come_last() -> None:
    """So that they win over ours."""
    settings = EngineSettings(extra_arguments=("--dtype", "float16"))
    assert engine_arguments(AVX2, settings)[-2:] == ("--dtype", "float16")


def test_a_gpu_is_used_only_with_a_gpu_build() -> None:
    """With the CPU build installed, the GPU of the machine does not count."""
    assert device(GPU, SETTINGS) == "gpu"
    assert device(replace(GPU, build="cpu"), SETTINGS) == "cpu"
    assert device(GPU, EngineSettings(device="cpu")) == "cpu"


@pytest.mark.parametrize(
    ("hardware", "reason"), [(AVX2, "no NVIDIA"), (replace(GPU, build="cpu"), "CPU build")]
)
def test_a_gpu_that_cannot_be_had_is_an_error(hardware: Hardware, reason: str) -> None:
    """The settings ask for a GPU: the error says what is missing and how to get it."""
    with pytest.raises(SettingsError, match=reason):
        engine_arguments(hardware, EngineSettings(device="gpu"))


@pytest.mark.parametrize(
    ("cores", "expected"), [((0,), "0"), ((0, 1), "0-1"), ((5, 0, 1, 2, 7, 8), "0-2,5,7-8")]
)
def test_cores_are_written_as_ranges(cores: tuple[int, ...], expected: str) -> None:
    """As vLLM reads them, in whatever order they come."""
    assert core_ranges(cores) == expected


def test_detect_reads_this_machine(tmp_path: Path) -> None:
    """Flags come from cpuinfo, GPUs are counted by their device files, cores by affinity."""
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("processor\t: 0\nflags\t\t: fpu avx2 amx_bf16\n")
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    found = detect(cpuinfo, tmp_path)
    assert found.cpu_flags == {"fpu", "avx2", "amx_bf16"}
    assert found.gpus == 2
    assert set(found.cores) == os.sched_getaffinity(0)
    assert found.memory_bytes > GIB // 4


def test_detect_does_without_cpuinfo(tmp_path: Path) -> None:
    """A system without it gets the settings that run everywhere."""
    assert detect(tmp_path / "none", tmp_path).cpu_flags == frozenset()
