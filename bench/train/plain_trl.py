"""The plain script: SFTTrainer and LoraConfig as TRL's documentation has them, nothing of ours.

Prompt-completion rows, so that TRL learns from the last answer alone; LoRA on all linear layers;
the learning rate that TRL's page on PEFT names for LoRA, and its defaults for the rest: bfloat16
autocast and gradient checkpointing. `--cpu` sets the two that TRL's help says cost time or need
hardware: float32, no checkpointing.

    python -m bench.train.plain_trl DATASET MODEL OUTPUT [--cpu] [--learning-rate 2e-4] ...
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from datasets import load_dataset
from peft import LoraConfig
from trl.trainer.sft_config import SFTConfig
from trl.trainer.sft_trainer import SFTTrainer

LEARNING_RATE = 2e-4  # ten times SFTConfig's 2e-5. Source: TRL's documentation, "PEFT integration"


def main(words: list[str]) -> None:
    """Train, leaving a checkpoint every `--save-steps` steps."""
    asked = _arguments(words)
    rows = load_dataset("parquet", data_files=str(asked.dataset / "train.parquet"), split="train")
    rows = rows.map(_as_trl_has_it, remove_columns=["messages"])
    trainer = SFTTrainer(
        model=str(asked.model),
        train_dataset=rows,
        peft_config=LoraConfig(
            r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"
        ),
        args=SFTConfig(
            output_dir=str(asked.output),
            learning_rate=asked.learning_rate,
            num_train_epochs=asked.epochs,
            per_device_train_batch_size=asked.batch_size,
            save_steps=asked.save_steps,
            max_steps=asked.max_steps,
            logging_steps=asked.save_steps,
            use_cpu=True,  # TRL asks for it where there is no GPU
            report_to="none",
            bf16=not asked.cpu,  # True is TRL's default, as for checkpointing
            gradient_checkpointing=not asked.cpu,
        ),
    )
    trainer.train()


def _as_trl_has_it(row: dict[str, Any]) -> dict[str, Any]:
    return {"prompt": row["messages"][:-1], "completion": row["messages"][-1:]}


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.train.plain_trl")
    parser.add_argument("dataset", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cpu", action="store_true", help="float32 and no checkpointing")
    parser.add_argument("--learning-rate", type=float, default=LEARNING_RATE)
    parser.add_argument("--epochs", type=float, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--save-steps", type=int, default=10)
    parser.add_argument("--max-steps", type=int, default=-1)
    return parser.parse_args(words)


if __name__ == "__main__":
    main(sys.argv[1:])
