"""An increment as the recipe makes it, and the gate's general questions before and after it.

Prints one JSON object: the shares of questions that the adapter answers `before` and `after`.

    python -m bench.train.increment OLD_DATASET NEW_DATASET MODEL ADAPTER OUTPUT
"""

from __future__ import annotations

import json
import os
import sys
from io import TextIOBase
from pathlib import Path
from typing import cast

import msgspec

from core.gate_settings import GateSettings
from retrain.gate.scoring import mean
from retrain.gate.suite_files import load_suite
from retrain.recipe import load_recipe
from retrain.runs.progress import Reporter
from retrain.runs.spec import GateSpec, JobSpec


def main(words: list[str]) -> None:
    """Continue the adapter, ask both, and print what each knows."""
    old, new, model, adapter, output = (Path(word) for word in words)
    import torch  # heavy

    from retrain.gate.evaluation import evaluate
    from retrain.training import sft

    threads = len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    output.mkdir(parents=True, exist_ok=True)
    questions = load_suite("retention", GateSettings())
    spec = JobSpec(
        run_id="bench",
        mode="incremental",
        base_model=str(model),
        base_model_name=model.name,
        dataset=str(new),
        seen_dataset=str(old),
        live_adapter=str(adapter),
        recipe={},
        threads=threads,
        gate_examples=0,
        gate=GateSpec(suites=(msgspec.structs.replace(questions, against="live"),)),
    )
    recipe = load_recipe("sft-lora").for_mode("incremental")
    reporter = Reporter(cast(TextIOBase, sys.stdout), output)
    sft.train(spec, recipe, reporter)
    scores = evaluate(spec, recipe, reporter).suites["retention"]
    told = {
        "questions": len(scores.candidate),
        "before": mean(scores.other),
        "after": mean(scores.candidate),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    main(sys.argv[1:])
