"""CURATE: what people approved and corrected becomes an immutable dataset version.

Reads interactions and feedback from the store; leaves a folder of Parquet files with a card and
the rows of its lineage. `pipeline.py` shows the stages in order. Knows nothing of training.
"""
