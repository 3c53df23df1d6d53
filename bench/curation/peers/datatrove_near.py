"""datatrove: its MinHash steps (signatures, buckets, clusters) one after another, on one core.

Its shingles are runs of words; each character is made a word here, so that they are the same
5-grams. It proposes clusters and compares no texts.

    python datatrove_near.py ASKED.json FOUND.json
"""

import json
import struct
import sys
import tempfile
import time
from collections import defaultdict
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

GRAM_CHARS = 5


class Characters:
    """A tokenizer whose words are characters."""

    def word_tokenize(self, text: str) -> list[str]:
        """Return the characters."""
        return list(text)


def _characters(_language: str) -> Characters:
    return Characters()


def main() -> None:
    """Read what is asked, write what was found."""
    with open(sys.argv[1], encoding="utf-8") as file:
        asked = json.load(file)
    import_module("loguru").logger.remove()  # a line for each bucket
    with tempfile.TemporaryDirectory(prefix="datatrove-") as folder:
        found = {"version": version("datatrove"), **run(asked, Path(folder))}
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(found, file)


def run(asked: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Return the seconds of each step, and the pairs of texts that are in one cluster."""
    minhash: Any = import_module("datatrove.pipeline.dedup.minhash")
    documents: Any = import_module("datatrove.data")
    minhash.load_word_tokenizer = _characters
    off = dict.fromkeys(
        ("lowercase", "norm_whitespace", "remove_punctuation", "norm_unicode_diacritics",
         "norm_numbers", "norm_weekdays", "norm_monthnames"),
        False,
    )  # fmt: skip
    config = minhash.MinhashConfig(
        n_grams=GRAM_CHARS,
        num_buckets=asked["bands"],
        hashes_per_bucket=asked["band_rows"],
        norm_config=minhash.TextNormConfig(**off),
    )
    texts = (documents.Document(text=text, id=str(n)) for n, text in enumerate(asked["texts"]))
    signatures, pairs, clusters = (str(folder / name) for name in ("sigs", "pairs", "clusters"))
    at_s = [time.perf_counter()]
    minhash.MinhashDedupSignature(signatures, config).run(texts, 0, 1)
    at_s.append(time.perf_counter())
    for bucket in range(config.num_buckets):
        step = minhash.MinhashDedupBuckets(signatures, pairs, config=config)
        step.run(None, bucket, config.num_buckets)
    at_s.append(time.perf_counter())
    minhash.MinhashDedupCluster(pairs, clusters, config, save_cluster_id=True).run(None, 0, 1)
    at_s.append(time.perf_counter())
    steps = ("signatures", "buckets", "clusters")
    seconds = {name: end - start for name, start, end in zip(steps, at_s, at_s[1:], strict=False)}
    return {"seconds": seconds, "pairs": members(Path(clusters) / "000000.clusters")}


def members(path: Path) -> list[tuple[int, int]]:
    """Return the pairs of texts that are in one cluster."""
    clusters: defaultdict[int, list[int]] = defaultdict(list)
    for text, cluster in struct.iter_unpack("<II", path.read_bytes() if path.is_file() else b""):
        clusters[cluster].append(text)
    return [
        (one, other)
        for own in clusters.values()
        for place, one in enumerate(sorted(own))
        for other in sorted(own)[place + 1 :]
    ]


if __name__ == "__main__":
    main()
