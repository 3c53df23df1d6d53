"""RETRAIN: a dataset version goes in, a gated adapter with its card comes out.

    policy    PURE  is it time to train, and incrementally or in full?
    recipe          a training configuration, read from recipes/*.toml
    runner          one run: folder, subprocess, progress, registration
    job             the subprocess: sft trains, evaluation compares with the live adapter
    gate      PURE  may the adapter ask for traffic?
    registry        names, statuses, hashes and overrides of adapters; card, servable

torch, transformers, trl and peft are imported only by `job`, `sft`, `evaluation`, `model`:
everything else may be imported by a process that must stay small.
"""
