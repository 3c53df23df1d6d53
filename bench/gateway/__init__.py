"""How much the gateway costs, beside its peers, in one run: `make bench-gateway`.

A mock engine answers like vLLM at a realistic pace; a load generator asks it directly, and
through Ratchet with durable logging, Ratchet with asynchronous logging, LiteLLM's proxy and
vllm-router. Peers are installed on first use, each in its own environment under `bench/.envs`;
one that cannot be installed or started is named in the result, and the run goes on.

What is fair, and how:

- The load is open: requests leave on a schedule drawn before, whatever became of the earlier
  ones, and latency counts from the scheduled time, so that a target that stalls cannot hide it
  (coordinated omission). Whether the generator kept to its schedule is part of the result.
- Each target has one core to itself, mock and generator have another. A ratio of rates thus
  compares what one core does. The targets take turns, several times, and those whose turn it is
  not are stopped (SIGSTOP), so that noise of the machine meets all alike.
- `direct` is the ceiling: a rate near it says more about mock and generator than about the
  target. CPU seconds per request do not have that limit.
- "Logging off": Ratchet cannot serve without logging, by design. Its lightest mode is
  `log.mode = "async"`, in which no answer waits for the disk; that is what is measured.

Results: a table, `bench/results/gateway.json` (machine, settings, all numbers, goals) and
`bench/results/gateway.svg`.

    .venv/bin/python -m bench.gateway [--quick] [--targets direct ratchet-durable ...] [--help]
"""
