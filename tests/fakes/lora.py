"""Small LoRA adapters with random weights, written without training and without torch.

Files as PEFT writes them, so that the real vLLM loads them. `strength` 0 changes nothing in what
the model says; from 0.3 on it says something else.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file


def write_lora(
    folder: Path, base_model: Path, *, rank: int = 8, seed: int = 0, strength: float = 0.5
) -> Path:
    """Write an adapter of the query and value projections of all layers; return its folder."""
    config = json.loads((base_model / "config.json").read_text())
    hidden = int(config["hidden_size"])
    head = int(config.get("head_dim") or hidden // config["num_attention_heads"])
    widths = {
        "q_proj": head * config["num_attention_heads"],
        "v_proj": head * config["num_key_value_heads"],
    }
    random = np.random.default_rng(seed)
    tensors: dict[str, NDArray[np.float32]] = {}
    for layer in range(config["num_hidden_layers"]):
        for module, width in widths.items():
            name = f"base_model.model.model.layers.{layer}.self_attn.{module}"
            tensors[f"{name}.lora_A.weight"] = _normal(random, (rank, hidden), hidden**-0.5)
            tensors[f"{name}.lora_B.weight"] = _normal(random, (width, rank), strength)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors")
    adapter = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": str(base_model),
        "r": rank,
        "lora_alpha": rank,
        "target_modules": sorted(widths),
        "bias": "none",
    }
    (folder / "adapter_config.json").write_text(json.dumps(adapter))
    return folder


def write_base_config(folder: Path) -> Path:
    """Write the `config.json` of a tiny model that exists only so far; return its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "num_hidden_layers": 1,
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def _normal(
    random: np.random.Generator, shape: tuple[int, int], scale: float
) -> NDArray[np.float32]:
    return (random.standard_normal(shape) * scale).astype(np.float32)
