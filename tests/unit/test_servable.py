"""What vLLM can hot-load: everything else is refused with what to change."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest

from core.errors import AdapterRefused, DataError
from core.settings import EngineSettings
from retrain.registry.servable import CONFIG_FILE, WEIGHTS_FILE, check_servable

ENGINE = EngineSettings(model=Path("models/smollm2"), max_lora_rank=16)
CONFIG: dict[str, Any] = {
    "peft_type": "LORA",
    "r": 16,
    "lora_alpha": 32,
    "bias": "none",
    "use_dora": False,
    "modules_to_save": None,
    "init_lora_weights": True,
    "rank_pattern": {},
    "base_model_name_or_path": "models/smollm2",
}
LORA_NAMES = tuple(f"model.layers.0.q_proj.lora_{side}.weight" for side in "AB")


def safetensors(names: tuple[str, ...]) -> bytes:
    """Return a file in the safetensors format with one float in each tensor."""
    header = {
        name: {"dtype": "F32", "shape": [1], "data_offsets": [4 * i, 4 * i + 4]}
        for i, name in enumerate(names)
    }
    raw = json.dumps({"__metadata__": {"format": "pt"}} | header).encode()
    return struct.pack("<Q", len(raw)) + raw + bytes(4 * len(names))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give an adapter that vLLM serves."""
    (tmp_path / CONFIG_FILE).write_text(json.dumps(CONFIG))
    (tmp_path / WEIGHTS_FILE).write_bytes(safetensors(LORA_NAMES))
    return tmp_path


def configure(folder: Path, **changes: Any) -> None:
    """Change values of the adapter's configuration."""
    (folder / CONFIG_FILE).write_text(json.dumps(CONFIG | changes))


def test_plain_lora_is_servable(folder: Path) -> None:
    """A LoRA of the right rank and base model passes, and the check tells its size."""
    found = check_servable(folder, ENGINE)
    assert (found.rank, found.tensors) == (16, 2)


def test_rslora_and_harmless_starts_are_servable(folder: Path) -> None:
    """What leaves a plain LoRA behind is no obstacle; neither is another mount of the base."""
    configure(
        folder,
        use_rslora=True,
        init_lora_weights="gaussian",
        base_model_name_or_path="/elsewhere/SmolLM2",
    )
    assert check_servable(folder, ENGINE).rank == 16


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"use_dora": True}, "use_dora is True, train without DoRA"),
        ({"modules_to_save": ["lm_head"]}, r"modules_to_save is \['lm_head'\]"),
        ({"lora_bias": True}, "lora_bias is True"),
        ({"bias": "all"}, "bias is 'all', train with bias none"),
        ({"r": 32}, "rank is 32, train with a rank from 1 to 16 or raise engine.max_lora_rank"),
        ({"r": 0}, "rank is 0"),
        ({"rank_pattern": {"q_proj": 64}}, "rank is 64"),
        ({"peft_type": "IA3"}, "peft_type is 'IA3', train with method lora"),
        ({"init_lora_weights": "pissa"}, "init_lora_weights is 'pissa'"),
        ({"base_model_name_or_path": "models/qwen"}, "base model is 'models/qwen'"),
        ({"base_model_name_or_path": None}, "base model is 'None'"),
    ],
)
def test_what_vllm_refuses_is_refused_with_the_mend(
    folder: Path, change: dict[str, Any], told: str
) -> None:
    """Each feature that vLLM cannot serve is named with its value and what to change."""
    configure(folder, **change)
    with pytest.raises(AdapterRefused, match=told):
        check_servable(folder, ENGINE)


def test_all_obstacles_are_told_at_once(folder: Path) -> None:
    """Nobody trains three times to find three faults."""
    configure(folder, use_dora=True, r=64, bias="lora_only")
    with pytest.raises(AdapterRefused, match=r"use_dora.*bias.*rank is 64"):
        check_servable(folder, ENGINE)


@pytest.mark.parametrize("name", ["adapter_model.bin", "deep/optimizer.PT", "x.pkl"])
def test_pickle_is_refused(folder: Path, name: str) -> None:
    """A file that may run code when it is loaded is refused wherever it lies."""
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_bytes(b"\x80\x04")
    with pytest.raises(AdapterRefused, match="may run code when loaded"):
        check_servable(folder, ENGINE)


def test_missing_weights_are_refused(folder: Path) -> None:
    """Without safetensors there is nothing to serve."""
    (folder / WEIGHTS_FILE).unlink()
    with pytest.raises(AdapterRefused, match="safetensors is missing"):
        check_servable(folder, ENGINE)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        ((*LORA_NAMES, "lm_head.weight"), "holds lm_head.weight"),
        ((*LORA_NAMES, "q_proj.lora_magnitude_vector"), "holds q_proj.lora_magnitude_vector"),
        ((), "holds nothing"),
    ],
)
def test_tensors_other_than_lora_are_refused(
    folder: Path, names: tuple[str, ...], told: str
) -> None:
    """The weights are looked at too: a configuration may lie."""
    (folder / WEIGHTS_FILE).write_bytes(safetensors(names))
    with pytest.raises(AdapterRefused, match=told):
        check_servable(folder, ENGINE)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"PK\x03\x04 a zip",
        struct.pack("<Q", 1 << 60),
        struct.pack("<Q", 2) + b"[]",
        safetensors(LORA_NAMES)[:-1],
        safetensors(LORA_NAMES) + b"tail",
    ],
)
def test_damaged_weights_are_found(folder: Path, content: bytes) -> None:
    """A file that is cut short, longer, or something else is no adapter."""
    (folder / WEIGHTS_FILE).write_bytes(content)
    with pytest.raises(DataError, match="is damaged"):
        check_servable(folder, ENGINE)


@pytest.mark.parametrize(
    ("content", "told"),
    [("{", "is not JSON"), ("[]", "no table of values"), ('{"r": "16"}', "names no rank")],
)
def test_broken_configuration_is_found(folder: Path, content: str, told: str) -> None:
    """A configuration that cannot be read is named."""
    (folder / CONFIG_FILE).write_text(content)
    with pytest.raises(DataError, match=told):
        check_servable(folder, ENGINE)


def test_folder_without_configuration_is_no_adapter(tmp_path: Path) -> None:
    """The error names the file that is missing."""
    with pytest.raises(DataError, match=r"adapter_config\.json is missing"):
        check_servable(tmp_path, ENGINE)
