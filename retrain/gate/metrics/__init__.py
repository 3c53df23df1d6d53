"""RETRAIN → CANARY, scores of answers: one number a question, by name. Pure.

    overlap    exact match, token F1, BLEU, ROUGE, BERTScore
    labels     accuracy and F1 of classifications
    shape      JSON, JSON schema, pattern, length
    refusals   answers that refuse

Answers and what they are held against go in, numbers come out; a question that a metric cannot
score (no reference, no schema) has None, and is left out of the mean.
"""
