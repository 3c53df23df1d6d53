"""SERVE: people's requests in, answers out, every one of them logged.

The gateway authenticates, picks the arm, calls the engine and logs; the launcher keeps vLLM
running; the reconciler makes the engine's loaded adapters equal the rollout table. Reads rows
that the loop wrote, and leaves events and replica rows. Knows nothing of training or verdicts.
"""
