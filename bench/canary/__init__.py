"""How often a canary is decided wrongly when somebody looks all the time: one run, simulated.

Thousands of rollouts of each kind: a canary that equals the baseline, is better, worse, worse by
exactly the margin, harms only the latency; with a drifting base rate, few ratings, ratings that
depend on the answer, spammers, people who come back, events that get lost. Every rollout is looked
at after every few answers until the deadline. On the very same streams: a fixed-sample z-test that
is looked at all the time, Mann-Whitney thresholds as in Kayenta, and a Bayesian expected-loss rule.

Results: a table, `bench/results/canary.json` (machine, settings, all numbers, goals) and
`bench/results/canary.png`.

    .venv/bin/python -m bench.canary [--quick] [--help]
"""
