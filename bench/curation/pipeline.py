"""The default pipeline over stores of several sizes: seconds and rows/s by stage, peak memory, fit.

Each build runs in a process of its own, with its workers, as `ratchet curate` does; memory is
sampled over all of them. Making the corpus is no part of what is measured.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from shutil import rmtree
from typing import Any

from bench.curation.corpus import Corpus, write_corpus
from bench.curation.figures import Extent, fitted
from bench.curation.memory import watched

TOLD_CHARS = 1_000  # of the output of a build that failed

Say = Callable[[str], None]


def measure_pipeline(folder: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return what building a version costs at each size; the versions stay in `folder`."""
    sizes: dict[str, dict[str, Any]] = {}
    for size in extent.sizes:
        corpus = corpus_of(folder, size, say)
        sizes[str(size)] = measured(corpus, folder / f"data-{size}")
        told = sizes[str(size)]
        say(f"{size:,} interactions: {told['wall_s']:.1f} s, {told['peak_pss_gb']:.2f} GB at most")
        if size != extent.checked:
            rmtree(folder / f"data-{size}", ignore_errors=True)
            rmtree(corpus.folder, ignore_errors=True)
    fit = fitted(extent.sizes, [sizes[str(size)]["wall_s"] for size in extent.sizes])
    return {"sizes": sizes, "fit": None if fit is None else asdict(fit)}


def corpus_of(folder: Path, size: int, say: Say) -> Corpus:
    """Return the corpus of that size below `folder`, made if it is not there."""
    corpus = Corpus(folder / f"corpus-{size}", size)
    if (corpus.folder / "truth.jsonl").is_file():
        return corpus
    say(f"writing a corpus of {size:,} interactions")
    rmtree(corpus.folder, ignore_errors=True)
    return write_corpus(corpus.folder, size)


def measured(corpus: Corpus, data: Path) -> dict[str, Any]:
    """Return what one build costs, in a process of its own.

    Raises: RuntimeError with the end of its output when it fails.
    """
    command = [sys.executable, "-m", "bench.curation.build"]
    asked = [str(corpus.folder), str(data), str(corpus.interactions)]
    with (
        subprocess.Popen(
            [*command, *asked], stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
        watched(process.pid) as peak,
    ):
        try:
            output, errors = process.communicate()
        except BaseException:
            process.terminate()  # so that nothing goes on when the benchmark is stopped
            raise
    if process.returncode != 0:
        end = errors.decode(errors="replace").strip()[-TOLD_CHARS:]
        raise RuntimeError(f"the build of {corpus.interactions:,} interactions failed: {end}")
    told = json.loads(output.splitlines()[-1])
    return {
        **told,
        "interactions_per_s": corpus.interactions / told["wall_s"],
        "peak_pss_gb": peak.pss_gb,
        "peak_rss_gb": peak.rss_gb,
        "stage_rates": rates(told),
    }


def rates(told: Mapping[str, Any]) -> dict[str, float]:
    """Return rows/s of each stage: of row stages by the CPU of one core, of others by the clock."""
    row = {name: own["rows"] / max(own["cpu_s"], 1e-9) for name, own in told["row_stages"].items()}
    return row | _whole_table_rates(told["stages"], told["spans"])


def _whole_table_rates(
    stages: Sequence[Mapping[str, Any]], spans: Mapping[str, Mapping[str, float]]
) -> dict[str, float]:
    return {
        stage["name"]: stage["before"] / max(spans[stage["name"]]["wall_s"], 1e-9)
        for stage in stages
        if stage["name"] in spans
    }
