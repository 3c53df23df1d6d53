"""Processes that only decide, register or start runs stay small: no training stack in them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

LIGHT = ", ".join(
    f"retrain.{name}"
    for name in (
        "policy",
        "gate.verdict",
        "registry.ledger",
        "runs.runner",
        "search.searching",
        "state",
        "model",
    )
)
HEAVY = ("torch", "transformers", "trl", "peft", "datasets")


def test_light_modules_do_not_import_the_training_stack() -> None:
    """Importing them in a fresh process leaves torch and its company unloaded."""
    code = f"import sys, {LIGHT}; print([m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "[]"
