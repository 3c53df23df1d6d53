"""RETRAIN → CANARY, the offline evaluation that no adapter can skip.

evaluation   candidate and live model on held-out examples
scoring      PURE  scores of answers against references
verdict      PURE  may the adapter ask for traffic?
"""
