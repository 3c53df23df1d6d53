"""Near dedupe alone, beside datasketch and datatrove: texts/s, recall and precision.

The same texts (distinct questions of a corpus, normalised), 5-grams, permutations and bands for
all, each in one process on one core. Truth are all pairs whose similarity is at least the
threshold, worked out from the sets of 5-grams (`edits.alike_pairs`). A library that only clusters
is held against the clusters that true pairs form.
"""

from __future__ import annotations

import json
import sqlite3
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from bench.curation.corpus import Corpus
from bench.curation.edits import Pair, alike_pairs, closed, plain
from bench.curation.environments import PeerError, install, run_script
from bench.curation.figures import Extent, found
from bench.curation.pipeline import corpus_of
from curation.minhash import BANDS, band_hashes, band_rows, colliding
from curation.near import near_prompts
from curation.similarity import hashed_shingles

THRESHOLD = 0.95  # the default of curation.near_duplicate_similarity
MAX_CHARS = 4_000  # longer questions are plants of another kind
PEERS: Mapping[str, tuple[str, ...]] = {
    "datasketch": ("datasketch",),
    "datatrove": ("datatrove", "regex", "tokenizers", "xxhash<4"),  # what its steps import
}
SCRIPTS = Path(__file__).parent / "peers"

Say = Callable[[str], None]


def measure_near(folder: Path, extent: Extent, say: Say) -> dict[str, Any]:
    """Return what our near dedupe and the peers' take and find."""
    corpus = corpus_of(folder, min(extent.sizes), say)
    texts = questions(corpus, extent.near_texts)
    say(f"comparing {len(texts):,} texts to know the truth")
    truth = set(alike_pairs(texts, THRESHOLD))
    rounds = [ours(texts) for _ in range(extent.near_rounds)]
    few = texts[: extent.near_peer_texts]
    few_truth = {pair for pair in truth if max(pair) < len(few)}
    few_ours = [ours(few) for _ in range(extent.near_rounds)]
    own = {
        **found(rounds[0]["pairs"], truth),
        "texts": len(texts),
        **_speed([told["seconds"] for told in rounds], len(texts)),
    }
    on_few = _speed([told["seconds"] for told in few_ours], len(few))
    peers = {name: _peer(name, folder, few, few_truth, say) for name in PEERS}
    return {
        "threshold": THRESHOLD,
        "bands": BANDS,
        "band_rows": band_rows(THRESHOLD),
        "ours": own,
        "ours_on_peers_texts": {"texts": len(few), **on_few},
        **peers,
        **{f"to_{name}": _ratio(on_few, told) for name, told in peers.items()},
    }


def questions(corpus: Corpus, most: int) -> list[str]:
    """Return the distinct questions of a corpus, normalised, at most so many."""
    texts: dict[str, None] = {}
    with closing(sqlite3.connect(corpus.folder / "store.db")) as database:
        for (raw,) in database.execute("SELECT messages FROM interaction ORDER BY id"):
            for question in _question(json.loads(raw)):
                texts.setdefault(plain(question))
            if len(texts) >= most:
                break
    return list(texts)


def _question(messages: Any) -> Iterator[str]:
    """Yield the last message if it is a sound and short text."""
    if isinstance(messages, list) and messages and isinstance(messages[-1], dict):
        content: Any = messages[-1].get("content")
        if isinstance(content, str) and len(content) <= MAX_CHARS:
            yield content


def ours(texts: Sequence[str]) -> dict[str, Any]:
    """Return the seconds of each of our steps, and the pairs."""
    at_s = [time.perf_counter()]
    grams = hashed_shingles(texts)
    at_s.append(time.perf_counter())
    bands = band_hashes(grams, THRESHOLD)
    at_s.append(time.perf_counter())
    proposed = colliding(bands)
    at_s.append(time.perf_counter())
    near = near_prompts(
        proposed, lambda numbers: [{number: texts[number] for number in numbers}],
        np.empty(0, np.uint32), THRESHOLD,
    )  # fmt: skip
    at_s.append(time.perf_counter())
    names = ("shingles", "signatures", "buckets", "verification")
    seconds = {name: end - start for name, start, end in zip(names, at_s, at_s[1:], strict=False)}
    return {"seconds": seconds, "pairs": [(one, other) for one, other in near.pairs.tolist()]}


def _peer(
    name: str, folder: Path, texts: Sequence[str], truth: set[Pair], say: Say
) -> dict[str, Any]:
    """Return what a peer takes and finds, or why it does not run."""
    asked, answered = folder / f"{name}-asked.json", folder / f"{name}-found.json"
    parameters = {"bands": BANDS, "band_rows": band_rows(THRESHOLD), "threshold": THRESHOLD}
    asked.write_text(json.dumps({"texts": texts, **parameters}))
    try:
        python = install(name, PEERS[name], say)
        say(f"near dedupe of {len(texts):,} texts by {name}")
        run_script(python, SCRIPTS / f"{name}_near.py", asked, answered)
    except PeerError as error:
        say(f"[bold red]{name} is left out:[/] {error}")
        return {"missing": str(error)}
    told = json.loads(answered.read_text())
    if name == "datatrove":
        return {"version": told["version"], **_judged(told, texts, closed(truth))}
    return {
        "version": told["version"],
        **_judged(told["sha1"], texts, truth),
        "with_crc32": _judged(told["crc32"], texts, truth),
    }


def _judged(told: Mapping[str, Any], texts: Sequence[str], truth: set[Pair]) -> dict[str, Any]:
    pairs = {(min(pair), max(pair)) for pair in told["pairs"]}
    judged = {
        **found(pairs, truth), "texts": len(texts), **_speed([told["seconds"]], len(texts)),
    }  # fmt: skip
    if "proposed" in told:
        proposed = {(min(pair), max(pair)) for pair in told["proposed"]}
        judged["without_estimate"] = found(proposed, truth)
    return judged


def _speed(rounds: Sequence[Mapping[str, float]], texts: int) -> dict[str, Any]:
    """Return texts/s in all and of each step, of the medians of the rounds."""
    steps = {name: statistics.median(told[name] for told in rounds) for name in rounds[0]}
    total = statistics.median(sum(told.values()) for told in rounds)
    rates = {name: texts / max(seconds, 1e-9) for name, seconds in steps.items()}
    return {"seconds": steps, "texts_per_s": texts / total, "steps_per_s": rates}


def _ratio(own: Mapping[str, Any], peer: Mapping[str, Any]) -> float | None:
    rate = peer.get("texts_per_s")
    return own["texts_per_s"] / rate if rate else None
