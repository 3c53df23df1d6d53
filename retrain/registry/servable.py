"""Can vLLM serve this adapter? Checked at registration, before anybody routes traffic to it.

An adapter's folder and the engine's settings go in; its rank comes out, or an error that says
what to change. Reads the configuration and the header of the weights; needs neither torch
nor an engine. Source: DESIGN, "Adapters on vLLM"; vLLM 0.32, `vllm/lora/peft_helper.py`.
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import AdapterRefused, DataError
from core.settings import EngineSettings

WEIGHTS_FILE = "adapter_model.safetensors"
CONFIG_FILE = "adapter_config.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
MAX_HEADER_BYTES = 100_000_000  # the safetensors format's own limit

# What vLLM refuses, or would load and compute wrongly; with the mend.
_FORBIDDEN = {
    "use_dora": "train without DoRA (use_dora = false)",
    "modules_to_save": "train LoRA matrices only (modules_to_save = null)",
    "lora_bias": "train without LoRA biases (lora_bias = false)",
    "layer_replication": "train without layer_replication",
    "alora_invocation_tokens": "train an ordinary LoRA, not an activated one",
    "use_qalora": "train an ordinary LoRA (use_qalora = false)",
    "use_bdlora": "train an ordinary LoRA (use_bdlora = null)",
    "trainable_token_indices": "train without trainable_token_indices",
}
# Ways to start training that leave a plain LoRA behind; others change the base model.
_PLAIN_STARTS = frozenset({"gaussian", "eva", "orthogonal", "mica", "lora_ga"})


@dataclass(frozen=True, slots=True)
class ServableAdapter:
    """What the check found out."""

    rank: int
    tensors: int


def check_servable(folder: Path, engine: EngineSettings) -> ServableAdapter:
    """Return the adapter's rank and size if the engine can hot-load it.

    Raises: DataError if the folder is no adapter; AdapterRefused if it is one that the
    engine would refuse. Both say what to change.
    """
    config = read_config(folder)
    faults = [*_config_faults(config, engine), *_pickle_faults(folder)]
    if faults:
        raise AdapterRefused(f"adapter in {folder} cannot be served: {'; '.join(faults)}")
    names = list(tensor_shapes(folder / WEIGHTS_FILE))
    strange = [name for name in names if ".lora_A." not in name and ".lora_B." not in name]
    if strange or not names:
        told = strange[0] if strange else "nothing"
        raise AdapterRefused(
            f"adapter in {folder} cannot be served: {WEIGHTS_FILE} holds {told}, "
            "not only LoRA matrices: train with method lora and save again"
        )
    return ServableAdapter(int(config["r"]), len(names))


def read_config(folder: Path) -> dict[str, Any]:
    """Return the PEFT configuration in an adapter's folder.

    Raises: DataError if there is none, or a LoRA's without a rank.
    """
    config = read_adapter_config(folder)
    if config.get("peft_type", "LORA") == "LORA" and not isinstance(config.get("r"), int):
        raise DataError(f"{folder / CONFIG_FILE} names no rank 'r': is it a LoRA adapter?")
    return config


def read_adapter_config(folder: Path) -> dict[str, Any]:
    """Return PEFT's configuration of any kind of adapter.

    Raises: DataError if there is none.
    """
    path = folder / CONFIG_FILE
    try:
        config = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing: {folder} is no PEFT adapter") from error
    except ValueError as error:
        raise DataError(f"{path} is not JSON ({error}): save the adapter again") from error
    if not isinstance(config, dict):
        raise DataError(f"{path} is no table of values: save the adapter again")
    return config


def _config_faults(config: dict[str, Any], engine: EngineSettings) -> list[str]:
    faults = [
        f"{name} is {config[name]!r}, {mend}"
        for name, mend in _FORBIDDEN.items()
        if config.get(name)
    ]
    if config.get("peft_type") != "LORA":
        faults.append(f"peft_type is {config.get('peft_type')!r}, train with method lora")
    if config.get("bias", "none") != "none":
        faults.append(f"bias is {config['bias']!r}, train with bias none")
    start = config.get("init_lora_weights", True)
    if isinstance(start, str) and start.lower() not in _PLAIN_STARTS:
        faults.append(f"init_lora_weights is {start!r}, train with init_lora_weights true")
    rank = max([config.get("r") or 0, *(config.get("rank_pattern") or {}).values()])
    if config.get("peft_type") == "LORA" and not 1 <= rank <= engine.max_lora_rank:
        faults.append(
            f"rank is {rank}, train with a rank from 1 to {engine.max_lora_rank} "
            "or raise engine.max_lora_rank"
        )
    base = str(config.get("base_model_name_or_path"))
    if not same_model(base, engine.model):
        faults.append(
            f"its base model is {base!r}, the engine serves {str(engine.model)!r}: "
            "train on that one or change engine.model"
        )
    return faults


def same_model(name: str, served: Path) -> bool:
    """Return whether both are the same model. Folders may be mounted elsewhere: the last part
    counts.
    """
    trained = Path(name)
    return trained.name.lower() == served.name.lower() or trained.resolve() == served.resolve()


def _pickle_faults(folder: Path) -> list[str]:
    """Pickles run code when they are loaded: none may lie in the folder."""
    found = sorted(path.name for path in folder.rglob("*") if path.suffix.lower() in PICKLES)
    if found:
        return [f"{', '.join(found)} may run code when loaded, save as safetensors instead"]
    if not (folder / WEIGHTS_FILE).is_file():
        return [f"{WEIGHTS_FILE} is missing, save as safetensors"]
    return []


def tensor_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the names and shapes in a safetensors file's header.

    Raises: DataError if it is cut short or no such file.
    """
    try:
        with path.open("rb") as file:
            (header_bytes,) = struct.unpack("<Q", file.read(8))
            if header_bytes > MAX_HEADER_BYTES:
                raise ValueError(f"a header of {header_bytes} bytes")
            header: dict[str, Any] = json.loads(file.read(header_bytes))
            header.pop("__metadata__", None)
            end = max((tensor["data_offsets"][1] for tensor in header.values()), default=0)
        expected = 8 + header_bytes + end
        if path.stat().st_size != expected:
            raise ValueError(f"{path.stat().st_size} bytes instead of {expected}")
    except (struct.error, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is damaged ({error}): save the adapter again") from error
    return {name: tuple(tensor["shape"]) for name, tensor in header.items()}
