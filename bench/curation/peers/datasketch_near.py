"""datasketch: `MinHash.bulk`, then `MinHashLSH`, which is asked before each insertion.

Its `hashfunc` is SHA-1 by default; CRC-32 is the fastest that it can be given here.

    python datasketch_near.py ASKED.json FOUND.json
"""

import json
import sys
import time
import zlib
from importlib import import_module
from importlib.metadata import version
from typing import Any

GRAM_CHARS = 5


def main() -> None:
    """Read what is asked, write what was found."""
    with open(sys.argv[1], encoding="utf-8") as file:
        asked = json.load(file)
    found: dict[str, Any] = {"version": version("datasketch")}
    for name, more in (("sha1", {}), ("crc32", {"hashfunc": zlib.crc32})):
        found[name] = run(asked, more)
    with open(sys.argv[2], "w", encoding="utf-8") as file:
        json.dump(found, file)


def run(asked: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    """Return the seconds of each step, and the pairs of texts as the index and MinHash see them."""
    datasketch: Any = import_module("datasketch")
    bands, rows = asked["bands"], asked["band_rows"]
    at_s = [time.perf_counter()]
    tokens = [shingles(text) for text in asked["texts"]]
    at_s.append(time.perf_counter())
    signatures = datasketch.MinHash.bulk(tokens, num_perm=bands * rows, **more)
    at_s.append(time.perf_counter())
    index = datasketch.MinHashLSH(num_perm=bands * rows, params=(bands, rows))
    proposed: list[tuple[int, int]] = []
    for number, signature in enumerate(signatures):
        proposed += [(other, number) for other in index.query(signature)]
        index.insert(number, signature)
    at_s.append(time.perf_counter())
    pairs = [
        (one, other)
        for one, other in proposed
        if signatures[one].jaccard(signatures[other]) >= asked["threshold"]
    ]
    at_s.append(time.perf_counter())
    steps = ("shingles", "signatures", "index", "estimate")
    seconds = {name: end - start for name, start, end in zip(steps, at_s, at_s[1:], strict=False)}
    return {"seconds": seconds, "proposed": proposed, "pairs": pairs}


def shingles(text: str) -> list[bytes]:
    """Return the distinct 5-grams as bytes, which datasketch hashes."""
    last = max(1, len(text) - GRAM_CHARS + 1)
    return [gram.encode() for gram in {text[at : at + GRAM_CHARS] for at in range(last)}]


if __name__ == "__main__":
    main()
