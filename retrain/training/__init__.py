"""RETRAIN, on what and how a model learns: examples and a recipe in, trained weights out.

One flat module per trainer. The only part of Ratchet, with `retrain.gate.evaluation` and
`retrain.model`, that imports torch, transformers, trl and peft.
"""
