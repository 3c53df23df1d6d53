"""RETRAIN, what adapters there are, what they were made of, and who let one past the gate.

ledger       names, statuses, hashes and overrides
record       a finished run → the adapter's row
card         the model card in its folder
servable     can vLLM serve it?
"""
