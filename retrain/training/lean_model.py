"""Gives a Llama-like model with a LoRA the operations of `lean` and the rows of `shared_prefix`.

Only on CPU, only parts whose arithmetic is known to be the same: a plain LoRA without dropout on
a linear layer without bias, the usual norm, the usual gated MLP. Whatever else a model has keeps
its own code; names, weights and what is saved do not change. Imports torch.
"""

from __future__ import annotations

from types import MethodType
from typing import Any

import torch
from peft.tuners.lora.layer import Linear as LoraLinear
from torch import Tensor, nn
from transformers.activations import SiLUActivation

from retrain.training import shared_prefix
from retrain.training.lean import frozen_linear, lora_linear, rms_norm, swiglu

PASSED_ON = torch.zeros(1, 1, 1, 1)  # a mask of four axes, which transformers does not touch

# Architectures whose parts are Llama's: residual blocks of norm, attention, norm and gated MLP.
LLAMA_LIKE = frozenset({"llama", "mistral", "qwen2", "qwen3", "smollm3"})


def make_lean(model: Any) -> bool:
    """Replace what can be replaced in a PEFT model; return whether it takes rows.

    Rows need full causal attention: a model with a sliding window keeps its batches.
    """
    config = model.config
    if config.model_type not in LLAMA_LIKE or model.device.type != "cpu":
        return False
    for module in model.modules():
        _replace(module)
    takes_rows = (
        config._attn_implementation == "sdpa"
        and not getattr(config, "attention_dropout", 0.0)
        and not _has_window(config)
    )
    if takes_rows:
        config._attn_implementation = shared_prefix.NAME
    return takes_rows


def _has_window(config: Any) -> bool:
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    used = getattr(config, "use_sliding_window", True)
    return kinds != {"full_attention"} or (config.model_type == "mistral" and bool(window and used))


def _replace(module: Any) -> None:
    if _is_plain_lora(module):
        module.forward = MethodType(_lora_forward, module)
    elif type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        if not module.weight.requires_grad:
            module.forward = MethodType(_norm_forward, module)
    elif _is_gated_mlp(module):
        module.forward = MethodType(_mlp_forward, module)
    elif is_frozen_linear(module):
        module.forward = MethodType(_linear_forward, module)  # below the first adapter, say


def is_frozen_linear(module: Any) -> bool:
    """Whether the module is a product with a matrix that is not trained, and nothing more."""
    plain = type(module) is nn.Linear and getattr(module, "bias", None) is None
    return plain and not module.weight.requires_grad


def _is_plain_lora(module: Any) -> bool:
    if type(module) is not LoraLinear or len(module.active_adapters) != 1:
        return False
    name, base = module.active_adapters[0], module.base_layer
    return (
        is_frozen_linear(base)
        and not module.lora_variant
        and not module.merged
        and not module.disable_adapters
        and isinstance(module.lora_dropout[name], nn.Identity)
        and getattr(module.lora_B[name], "bias", None) is None
    )


def _is_gated_mlp(module: Any) -> bool:
    parts = ("gate_proj", "up_proj", "down_proj", "act_fn")
    return all(hasattr(module, part) for part in parts) and isinstance(
        module.act_fn, (SiLUActivation, nn.SiLU)
    )


def _lora_forward(self: Any, x: Tensor) -> Tensor:
    name = self.active_adapters[0]
    return lora_linear(
        x,
        self.base_layer.weight,
        self.lora_A[name].weight,
        self.lora_B[name].weight,
        self.scaling[name],
    )


def _linear_forward(self: Any, x: Tensor) -> Tensor:
    return frozen_linear(x, self.weight)


def _norm_forward(self: Any, hidden_states: Tensor) -> Tensor:
    return rms_norm(hidden_states, self.weight, self.variance_epsilon)


def _mlp_forward(self: Any, x: Tensor) -> Tensor:
    return self.down_proj(swiglu(self.gate_proj(x), self.up_proj(x)))
