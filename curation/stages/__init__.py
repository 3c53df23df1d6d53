"""CURATE: the stages of the pipeline, one noun a module, each a table in and an `Outcome` out.

Row stages look at one row at a time and run in any process, on any part of the data; `pipeline.py`
says their order.
"""
