"""DETECT, first step: what traffic looks like now, and what it is held against.

    reading.py        the store → interactions of one application and adapter, a sample of them
    features.py       an interaction → its features (pure); language.py, answer_format.py
    topics.py         embeddings → clusters of a reference, and the nearest of each row (pure)
    nearness.py       embeddings → distance to the nearest training example (pure)
    feature_file.py   features ↔ Parquet
    summary.py        features → means, quantiles, shares, histograms (pure)
    references.py     training examples, the first healthy week → `Reference`
    collecting.py     new interactions → `FeatureWindow`
    forgetting.py     erased people's rows, and windows that are too old, go

Run by `loop.window_job` and `ratchet drift windows`. Drift is decided elsewhere.
"""
