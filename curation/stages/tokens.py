"""CURATE: how many tokens each conversation has, and without those that are too long.

Counted with the base model's own tokenizer, chat template included, of a pair with the longer of
its answers. Most tokenizers split a text before a space that follows a word: then a text has the
tokens of its words, and a word that was counted once need not be counted again, which is many
times quicker. Whether a tokenizer does so is tried when it is loaded; of another, every text is
encoded whole. Source: fine-tuning guide, Data Validation (respect the context window).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pyarrow as pa
from tokenizers import Tokenizer

from core.errors import DataError
from curation.stages.search import one_array
from curation.table import Outcome, Table, Why, conversations, sieve, with_column

TOKENIZER_FILE = "tokenizer.json"
# ChatML wraps a message in a start mark, the role, a newline, an end mark and a newline.
TEMPLATE_TOKENS_PER_MESSAGE = 5
BATCH_TEXTS = 1_000  # counted at a time

# A piece ends before a space that follows something else than white space
PIECE = re.compile(r"\s*\S+(?:[^\S ]\s*\S+)*|\s+")
MAX_PIECE_CHARS = 40  # longer ones seldom come again
MAX_KNOWN_PIECES = 300_000  # about 30 MB; then it begins anew
# Words, numbers, signs, lines, spaces in a row, other scripts: if their sum is right, so is any
_PROBES = (
    "Where is it? It's 12,345.67 metres (or 0.5 miles) away; isn't it?  Two spaces.",
    "def f(x):\n    return x ** 2  # squared\n\n\nclass A:\n\tname: str = 'a b'\n",
    " leading, trailing \n\n next  line \t tab\r\n - list\n  - sub  item ",
    "Größe über été ¿qué? Добрый день 日本語 です 👩‍💻 ok e\u0301 ½ \u00a0 nbsp",
    "<p class='a'>markup &amp; more</p> {\"a\": [1, 2]} https://example.org/a?b=c_d#e",
    "I'LL we'll DON'T 'quoted' ''double'' x' y ... !!! -- — …",
)


@dataclass(frozen=True, slots=True)
class CountTokens:
    """Adds the column `tokens` and leaves out conversations of more than `max_tokens`.

    `model`: the folder of the base model. Raises: DataError when it has no tokenizer.
    """

    model: Path
    max_tokens: int

    def __call__(self, table: Table) -> Outcome:
        """Return the rows that fit, with their tokens, and the others with theirs as detail."""
        counts = counted(table, _counter(self.model))
        why = [
            Why("too long", f"{count} tokens, at most {self.max_tokens}")
            if count > self.max_tokens
            else None
            for count in counts
        ]
        return sieve(with_column(table, "tokens", counts, pa.int32()), why)


def load_tokenizer(model: Path) -> Tokenizer:
    """Return the tokenizer of the base model in folder `model`.

    Raises: DataError when there is none that can be read.
    """
    path = model / TOKENIZER_FILE
    if not path.is_file():
        raise DataError(
            f"{path} does not exist, and without it no example's tokens can be counted: "
            "prepare the base model, or set engine.model to the folder that holds it"
        )
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise DataError(f"{path} is not a tokenizer ({error}): fetch the model again") from error


class TokenCounter:
    """Counts the tokens of texts as `tokenizer` does; remembers the words that it has seen."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._known: dict[str, int] = {}
        self.adds_up = all(
            sum(self._encoded(PIECE.findall(probe))) == self._encoded([probe])[0]
            for probe in _PROBES
        )

    def count(self, texts: Sequence[str]) -> list[int]:
        """Return the tokens of each text, without any template."""
        if not self.adds_up:
            return self._encoded(texts)
        counts: list[int] = []
        for start in range(0, len(texts), BATCH_TEXTS):
            counts += self._sums(
                [PIECE.findall(text) for text in texts[start : start + BATCH_TEXTS]]
            )
        return counts

    def _sums(self, pieces: Sequence[list[str]]) -> list[int]:
        """Return the tokens of each text, which is given in pieces."""
        if len(self._known) > MAX_KNOWN_PIECES:
            self._known.clear()
        known = self._known
        new = list({piece for each in pieces for piece in each if piece not in known})
        known.update(zip(new, self._encoded(new), strict=True))
        sums = [sum(map(known.__getitem__, each)) for each in pieces]
        for piece in new:
            if len(piece) > MAX_PIECE_CHARS:
                del known[piece]
        return sums

    def _encoded(self, texts: Sequence[str]) -> list[int]:
        counts: list[int] = []
        for start in range(0, len(texts), BATCH_TEXTS):
            batch = list(texts[start : start + BATCH_TEXTS])
            encoded = self._tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            counts += [len(each.ids) for each in encoded]
        return counts


def counted(table: Table, counter: TokenCounter) -> list[int]:
    """Return the tokens of each row's conversation, template included."""
    rows = conversations(table)
    is_pair = one_array(table["rejected"]).is_valid().to_pylist()
    counts = iter(counter.count([text for texts in rows for text in texts]))
    totals: list[int] = []
    for texts, pair in zip(rows, is_pair, strict=True):
        tokens = [next(counts) + TEMPLATE_TOKENS_PER_MESSAGE for _ in texts]
        if pair and len(tokens) > 1:
            tokens.append(max(tokens.pop(), tokens.pop()))
        totals.append(sum(tokens))
    return totals


@lru_cache(maxsize=2)
def _counter(model: Path) -> TokenCounter:
    return TokenCounter(load_tokenizer(model))
