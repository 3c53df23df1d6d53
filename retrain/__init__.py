"""RETRAIN: a dataset version goes in, a gated adapter with its card comes out.

    policy    PURE  is it time to train, and incrementally or in full?
    recipe          a training configuration, read from recipes/*.toml
    runs            one run: row, folder, process, progress, registration
    training        the trainers, one flat module each
    watching        is a training healthy? its report, and who else is told
    search          the best values of a recipe, by many trainings
    gate            candidate against live: may the adapter ask for traffic?
    registry        names, statuses, hashes, cards and overrides of adapters

torch, transformers, trl and peft are imported only by `training`, `gate.evaluation` and
`model`: everything else may be imported by a process that must stay small.
"""
