"""The arithmetic of `ratchet merge`: base model and adapter in, one model in safetensors out.

Merged in float32 and stored in the base model's own type. The merged model must say what base and
adapter said together, on a probe: else nothing is written. A fully trained model is copied. Takes
4 bytes of memory per weight. Imports torch.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoTokenizer

from core.errors import TrainingError
from retrain.registry.ledger import UNHASHED
from retrain.registry.merging import Merge, Merged, Tell, carry_out
from retrain.registry.servability import FULL
from retrain.registry.servable import PICKLES
from retrain.registry.shelf import EVALUATION_FILES, RECIPE_FILE
from retrain.tokens import use_template
from retrain.training.methods import load_base, own_dtype

PROBE = "The quick brown fox jumps over the lazy dog. 0123456789, and then?"
# Of the largest logit: float32 rounds at 1e-7, through some hundred layers. Measured on the tiny
# model and SmolLM2 for all methods: below 1e-5.
MAX_DIFFERENCE = 1e-3
_ABOUT_ADAPTER = {*UNHASHED, *EVALUATION_FILES, RECIPE_FILE}


def merge(asked: Merge, tell: Tell) -> Merged:
    """Return the merged model, made now or before; `tell` hears of each stage.

    Raises: StateError when the folder is taken; TrainingError when the merged model answers
    otherwise than base and adapter did.
    """

    def write(asked: Merge, folder: Path) -> dict[str, Any]:
        return _copy(asked, folder, tell) if asked.method == FULL else _fold(asked, folder, tell)

    return carry_out(asked, write)


def _copy(asked: Merge, folder: Path, tell: Tell) -> dict[str, Any]:
    tell("copying the model")
    for path in asked.trained.iterdir():
        if path.is_file() and path.name not in _ABOUT_ADAPTER and path.suffix not in PICKLES:
            shutil.copyfile(path, folder / path.name)
    return {}


@torch.inference_mode()
def _fold(asked: Merge, folder: Path, tell: Tell) -> dict[str, Any]:
    tell("loading the base model")
    tokenizer = AutoTokenizer.from_pretrained(asked.base_model)
    ids_1_T = torch.tensor([tokenizer(PROBE)["input_ids"]])
    model: Any = PeftModel.from_pretrained(
        load_base(str(asked.base_model), torch.float32), str(asked.trained)
    ).eval()
    ids_1_T = ids_1_T.to(model.device)
    before_1_T_V = model(input_ids=ids_1_T).logits
    tell("merging")
    merged = model.merge_and_unload(safe_merge=True)
    tell("comparing")
    after_1_T_V = merged(input_ids=ids_1_T).logits
    difference = float((after_1_T_V - before_1_T_V).abs().max() / before_1_T_V.abs().max())
    if not difference <= MAX_DIFFERENCE:
        raise TrainingError(
            f"the merge of {asked.adapter} answers otherwise than base and adapter do (logits "
            f"differ by {difference:.2g} of the largest): nothing was written"
        )
    tell("writing")
    merged.to(own_dtype(str(asked.base_model))).save_pretrained(str(folder))
    use_template(tokenizer, "instruction" if asked.instruction_template else "chat")
    tokenizer.save_pretrained(folder)
    return {"logits_difference": difference}
