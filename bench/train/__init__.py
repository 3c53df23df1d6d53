"""What a training costs beside a plain TRL script, and what the gate's answers cost: one run.

The same conversations, base model, LoRA shape, batch size and epochs for all. Each training is a
process of its own and leaves its adapters behind at the same steps; one independent code then
measures the held-out loss of every adapter. Seconds count from the start of the process: whatever
prepares a training is part of it. The plain script is written as TRL's documentation has it, and
runs with TRL's defaults and with the settings that suit a CPU without bfloat16. One training more
is killed on its way, and one continues the adapter: what they lost is told.

Results: a table, `bench/results/train.json` (machine, settings, all numbers, goals) and
`bench/results/train.png`.

    .venv/bin/python -m bench.train [--quick] [--parts training keeping answers] [--help]
"""
