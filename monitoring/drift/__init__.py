"""Drift: whether what people ask, what they get, and how they like it has changed.

    sample.py      what is compared: a window's or a reference's columns
    columns.py     which columns are watched, and which of them retraining can mend
    effects.py     how large a difference is
    twosample.py   how sure it is: numbers, categories, flags
    kernel.py      the same for embeddings
    stream.py      slow losses of quality over several windows
    discovery.py   many tests at once, few false alarms
    comparison.py  all of these for one window against one reference
    decision.py    none, watch or act
    clusters.py    subjects that the reference does not know
    reading.py, report.py, page.py, evidently_reports.py, checking.py  the edges: files and store

The upper part is pure: numpy and scipy, arrays in, values out, seeds as arguments.
"""
