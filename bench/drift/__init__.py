"""How often drift is seen where there is none, and how soon where there is: one run.

Simulated applications: each has a healthy week and then windows, all columns of `monitoring.drift`
filled (topics and their embeddings, languages, lengths, refusals, ratings, latency, cost, errors).
Where nothing changes, a check that says anything is a false alarm. Where a drift of a listed size
is injected, the windows until `watch` and `act` are counted. Evidently's `DataDriftPreset` judges
the same tables with its defaults.

Results: a table, `bench/results/drift.json` (machine, settings, all numbers, goals) and
`bench/results/drift.png`.

    .venv/bin/python -m bench.drift [--quick] [--help]
"""
