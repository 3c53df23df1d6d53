"""What curation costs and finds, in one run: `make bench-curation`.

Synthetic judged interactions, up to a million, are written into a store with known plants in them:
exact and near duplicates, personal data, secrets, toxic and broken answers, items of an evaluation
suite. Then:

- `pii`: recall and precision of the row stage that redacts, on labelled sentences;
- `near`: near dedupe alone, beside datasketch and datatrove on the same texts, 5-grams,
  permutations and bands, each on one core; recall and precision against the true pairs;
- `pipeline`: the default pipeline at several sizes, each in processes of its own: seconds by
  stage, peak memory (PSS) of all processes, and whether the cost is linear in the interactions;
- `leaks`: a look at a built version that shares no code with the pipeline: what is in two splits,
  what of the suite is left, and what became of each kind of plant.

All settings are the defaults but two: the suite is named, and English alone is allowed, so that
these stages have work. Peers are installed on first use, each in an environment of its own under
`bench/.envs`; one that cannot be is named in the result, and the run goes on.

Results: tables, `bench/results/curation.json` (machine, settings, all numbers, goals) and
`bench/results/curation.png`.

    .venv/bin/python -m bench.curation [--quick] [--parts pii near ...] [--help]
"""
