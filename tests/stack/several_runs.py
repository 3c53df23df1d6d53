"""Trains the runs of several folders one after another, in one start of the libraries.

    python -m tests.stack.several_runs FOLDER …

by itself, or by torch's launcher in several processes: each folder is the real job's.
"""

from __future__ import annotations

import sys

from retrain.runs.job import main

if __name__ == "__main__":
    sys.exit(max(main([folder]) for folder in sys.argv[1:]))
