"""What is trained, by the recipe's method: a base model goes in, one with trainable weights out.

Low-rank, multiplicative, bottleneck and prompt-like adapters come from PEFT; full fine-tuning
trains the base model itself. Also loads and saves them. Shared by all trainers and the gate.
Imports torch: only the job imports this module.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from peft import (
    IA3Config,
    LoraConfig,
    OFTConfig,
    PeanutConfig,
    PeftConfig,
    PeftModel,
    PrefixTuningConfig,
    PromptTuningConfig,
    get_peft_model,
    prepare_model_for_kbit_training,
)
from transformers import AutoConfig, AutoModelForCausalLM, BitsAndBytesConfig
from transformers.distributed.configuration_utils import DistributedConfig

from core.errors import TrainingError
from retrain.parallel.plan import Parallel
from retrain.parallel.sharded import fsdp_values
from retrain.parallel.value import table
from retrain.recipe import Recipe
from retrain.recipe_rules import Method
from retrain.runs.spec import ADAPTER_FOLDER, MODEL_FOLDER, JobSpec

ADAPTER_CONFIG = "adapter_config.json"
ADAPTER = "default"  # PEFT's name for what is trained


def resolve_dtype(name: str) -> torch.dtype:
    """Return the type to compute in: `auto` is bfloat16 on GPUs that multiply it, else float32."""
    if name == "auto":
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported()
        return torch.bfloat16 if fast else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def load_base(folder: str, dtype: torch.dtype) -> Any:
    """Return the base model, on the GPU when there is one.

    Raises: TrainingError when the folder holds no model.
    """
    return _loaded(folder, dtype=dtype).to("cuda" if torch.cuda.is_available() else "cpu")


def base_for(spec: JobSpec, recipe: Recipe) -> Any:
    """Return the base model as the recipe's method trains on it.

    Full fine-tuning keeps its weights in float32, since small steps are lost in 16 bits (DeepSpeed
    keeps such a copy by itself); qlora holds the frozen weights in four bits. Where weights are
    divided between processes each gets its part.

    Raises: TrainingError when the folder holds no model, or qlora has no GPU to run on.
    """
    if recipe.method == "qlora":
        return _quantised(spec.base_model, recipe)
    whole = recipe.method == "full" and not spec.parallel.by_deepspeed
    dtype = torch.float32 if whole else resolve_dtype(recipe.dtype)
    if spec.parallel.weights_divided:
        return _loaded(spec.base_model, dtype=dtype, **_divided(spec.parallel))
    return load_base(spec.base_model, dtype)


def trainable(spec: JobSpec, recipe: Recipe, base: Any) -> Any:
    """Return the live adapter to go on with, or a fresh one, on the base model.

    Full fine-tuning returns the base model itself.

    Raises: TrainingError when the recipe does not fit the base model.
    """
    if recipe.method == "full":
        if spec.mode == "incremental":
            raise TrainingError("mode incremental continues an adapter, method full: train in full")
        return base.requires_grad_(True)
    # DeepSpeed gathers weights of one type only. Source: TRL issue 6089
    own_type = spec.parallel.by_deepspeed and spec.parallel.weights_divided
    if spec.mode == "incremental":
        if spec.live_adapter is None:
            raise TrainingError("mode incremental needs a live adapter to continue: train in full")
        return PeftModel.from_pretrained(
            base, spec.live_adapter, is_trainable=True, autocast_adapter_dtype=not own_type
        )
    try:
        config = peft_config(spec, recipe, base.config.num_hidden_layers)
        return get_peft_model(base, config, autocast_adapter_dtype=not own_type)
    except ValueError as error:  # no such modules in this architecture, blocks that do not divide
        raise TrainingError(f"recipe {recipe.name}: {error}") from error


def load_trained(base_model: str, trained: Path | None, dtype: torch.dtype) -> Any:
    """Return the model that a run has made: an adapter on its base, or a model of its own.

    None is the base model alone. In float32 an adapter is merged where its method allows that:
    faster, and exact enough in this type only.

    Raises: TrainingError when a folder holds no model.
    """
    if trained is None:
        return load_base(base_model, dtype)
    if not (trained / ADAPTER_CONFIG).is_file():
        return load_base(str(trained), dtype)
    model: Any = PeftModel.from_pretrained(load_base(base_model, dtype), str(trained))
    merges = not model.active_peft_config.is_prompt_learning
    return model.merge_and_unload() if merges and dtype is torch.float32 else model


def learnt(model: Any) -> dict[str, Any]:
    """Return the weights that are trained, by their names."""
    named = model.named_parameters()
    return {name: weights.detach() for name, weights in named if weights.requires_grad}


def save_trained(
    model: Any, spec: JobSpec, run_folder: Path, tokenizer: Any, gathered: Any = None
) -> Path:
    """Write what was trained into the run's folder so that it is whole or absent; return where.

    An adapter goes to `adapter/`, without the frozen copy of it that TRL may hold as a reference; a
    fully trained model to `model/`, in the base model's own type and with its tokenizer. `gathered`
    are the weights by name, where the model holds only its part of them.

    Raises: TrainingError when a weight is not a number.
    """
    for name, weights in (learnt(model) if gathered is None else gathered).items():
        if not torch.isfinite(weights).all():
            raise TrainingError(f"{name} is not finite after training: lower learning_rate")
    adapter = isinstance(model, PeftModel)
    target = run_folder / (ADAPTER_FOLDER if adapter else MODEL_FOLDER)
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)  # of a process that was killed while writing
    if adapter:
        model.peft_config[ADAPTER].base_model_name_or_path = spec.base_model_name
        model.save_pretrained(str(partial), selected_adapters=[ADAPTER], state_dict=gathered)
    else:
        tokenizer.save_pretrained(partial)
        _save_whole(model, own_dtype(spec.base_model), partial, gathered)
    if target.exists():  # written by a process that was killed right after
        shutil.rmtree(target)
    partial.rename(target)
    return target


def _save_whole(model: Any, dtype: torch.dtype, folder: Path, gathered: Any) -> None:
    if gathered is None:
        model.to(dtype).save_pretrained(str(folder))
        return
    model.config.dtype = dtype
    model.save_pretrained(
        str(folder), state_dict={name: weights.to(dtype) for name, weights in gathered.items()}
    )


def peft_config(spec: JobSpec, recipe: Recipe, model_layers: int) -> PeftConfig:
    """Return PEFT's configuration of the recipe's method.

    Raises: TrainingError when the recipe wants more layers than the model has; ValueError for
    values that PEFT refuses.
    """
    return _CONFIGS[recipe.method](spec, recipe, upper_layers(recipe, model_layers))


def upper_layers(recipe: Recipe, model_layers: int) -> list[int] | None:
    """Return the numbers of the layers that are trained, None for all.

    Raises: TrainingError when the recipe wants more than there are.
    """
    if recipe.layers is None or recipe.layers == "all":
        return None
    if recipe.layers > model_layers:
        raise TrainingError(
            f"recipe {recipe.name}: layers is {recipe.layers}, the base model has {model_layers}"
        )
    return list(range(model_layers - recipe.layers, model_layers))


def lora_config(
    recipe: Recipe, upper: list[int] | None, *, task: str = "CAUSAL_LM", **more: Any
) -> LoraConfig:
    """Return PEFT's configuration of a lora, qlora or dora recipe."""
    assert recipe.rank is not None  # the recipe's own checks
    assert recipe.alpha is not None
    return LoraConfig(
        task_type=task,
        r=recipe.rank,
        lora_alpha=recipe.alpha,
        lora_dropout=recipe.dropout or 0.0,
        target_modules=list(recipe.target_modules or ()),
        layers_to_transform=upper,
        use_rslora=bool(recipe.use_rslora),
        use_dora=recipe.method == "dora",
        bias="none",
        **more,
    )


def _lora(spec: JobSpec, recipe: Recipe, upper: list[int] | None) -> PeftConfig:
    return lora_config(recipe, upper)


def _ia3(spec: JobSpec, recipe: Recipe, upper: list[int] | None) -> PeftConfig:
    assert recipe.ia3 is not None  # the recipe's own check
    return IA3Config(
        task_type="CAUSAL_LM",
        target_modules=list(recipe.target_modules or ()),
        feedforward_modules=list(recipe.ia3.feedforward_modules),
    )


def _oft(spec: JobSpec, recipe: Recipe, upper: list[int] | None) -> PeftConfig:
    assert recipe.oft is not None  # the recipe's own check
    return OFTConfig(
        task_type="CAUSAL_LM",
        r=0,
        oft_block_size=recipe.oft.block_size,
        module_dropout=recipe.dropout or 0.0,
        target_modules=list(recipe.target_modules or ()),
        layers_to_transform=upper,
        use_cayley_neumann=recipe.oft.cayley_neumann,
        bias="none",
    )


def _peanut(spec: JobSpec, recipe: Recipe, upper: list[int] | None) -> PeftConfig:
    assert recipe.peanut is not None  # the recipe's own checks
    assert recipe.rank is not None
    return PeanutConfig(
        task_type="CAUSAL_LM",
        r=recipe.rank,
        depth=recipe.peanut.depth,
        act_fn=recipe.peanut.activation,
        scaling=recipe.peanut.scaling,
        target_modules=list(recipe.target_modules or ()),
        layers_to_transform=upper,
    )


def _prefix(spec: JobSpec, recipe: Recipe, upper: list[int] | None) -> PeftConfig:
    assert recipe.prefix is not None  # the recipe's own check
    return PrefixTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=recipe.prefix.num_virtual_tokens,
        prefix_projection=recipe.prefix.projection,
    )


def _prompt(spec: JobSpec, recipe: Recipe, upper: list[int] | None) -> PeftConfig:
    assert recipe.prompt is not None  # the recipe's own check
    text = recipe.prompt.init_text
    return PromptTuningConfig(
        task_type="CAUSAL_LM",
        num_virtual_tokens=recipe.prompt.num_virtual_tokens,
        prompt_tuning_init="SAMPLE_VOCAB" if text is None else "TEXT",
        prompt_tuning_init_text=text,
        tokenizer_name_or_path=None if text is None else spec.base_model,
    )


_CONFIGS: dict[Method, Callable[[JobSpec, Recipe, list[int] | None], PeftConfig]] = {
    "lora": _lora,
    "qlora": _lora,
    "dora": _lora,
    "ia3": _ia3,
    "oft": _oft,
    "peanut": _peanut,
    "prefix": _prefix,
    "prompt": _prompt,
}


def _divided(parallel: Parallel) -> dict[str, Any]:
    """Return how to load a part: DeepSpeed divides by itself once it is configured."""
    if parallel.strategy != "fsdp":
        return {}
    return {"distributed_config": DistributedConfig(**table(fsdp_values(parallel)))}


def _loaded(folder: str, **options: Any) -> Any:
    try:
        return AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, **options)
    except (OSError, ValueError) as error:
        raise TrainingError(
            f"{folder} holds no base model ({error}): run `python -m retrain.model {folder}`"
        ) from error


def _quantised(folder: str, recipe: Recipe) -> Any:
    """Return the base model in four bits, ready for an adapter.

    Source: Dettmers et al. 2023, "QLoRA"; fine-tuning guide, QLoRA.
    """
    if not torch.cuda.is_available() or find_spec("bitsandbytes") is None:
        lacking = "bitsandbytes" if torch.cuda.is_available() else "GPU"
        raise TrainingError(
            f"method qlora needs a CUDA GPU and bitsandbytes, here is no {lacking}: "
            "use method lora (recipe sft-lora)"
        )
    values = recipe.qlora
    assert values is not None  # the recipe's own check
    quantisation = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=values.quantisation,
        bnb_4bit_use_double_quant=values.double_quantisation,
        bnb_4bit_compute_dtype=getattr(torch, values.compute_dtype),
    )
    model = _loaded(
        folder,
        dtype=getattr(torch, values.compute_dtype),
        quantization_config=quantisation,
        device_map={"": torch.cuda.current_device()},
    )
    return prepare_model_for_kbit_training(
        model, use_gradient_checkpointing=recipe.gradient_checkpointing
    )


def own_dtype(base_model: str) -> torch.dtype:
    """Return the type that the base model's weights are stored in."""
    named = AutoConfig.from_pretrained(base_model, local_files_only=True).dtype
    return named if isinstance(named, torch.dtype) else torch.float32
