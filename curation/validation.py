"""CURATE: candidates that a training can use, and the reasons why the others cannot.

Checks schema, role flow, empty and broken text, and the token limit with the base model's own
tokenizer. Candidates come in, candidates and drops go out. Knows nothing of other candidates.
Source: fine-tuning guide, Data Validation and Quality Assurance.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from tokenizers import Tokenizer

from core.errors import DataError
from curation.candidates import Candidate, Drop, Sieved

TOKENIZER_FILE = "tokenizer.json"
# ChatML wraps a message in a start mark, the role, a newline, an end mark and a newline.
TEMPLATE_TOKENS_PER_MESSAGE = 5
BATCH_CANDIDATES = 256
# What decoding damage leaves behind: the replacement character and control characters.
BROKEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffd\ud800-\udfff]")


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


def validate(candidates: Sequence[Candidate], tokenizer: Tokenizer, max_tokens: int) -> Sieved:
    """Return the candidates that are well formed and at most `max_tokens` long."""
    sound: list[Candidate] = []
    dropped: list[Drop] = []
    for candidate in candidates:
        if reason := fault(candidate):
            dropped.append(Drop(candidate.interaction_id, reason))
        else:
            sound.append(candidate)
    kept: list[Candidate] = []
    for candidate, tokens in zip(sound, count_tokens(sound, tokenizer), strict=True):
        if tokens <= max_tokens:
            kept.append(candidate)
        else:
            detail = f"{tokens} tokens, at most {max_tokens}"
            dropped.append(Drop(candidate.interaction_id, "too long", detail))
    return Sieved(kept, dropped)


def fault(candidate: Candidate) -> str | None:
    """Return what is wrong with the candidate's messages, or None."""
    roles = [message.role for message in candidate.messages]
    turns = roles[1:] if roles[0] == "system" else roles
    if len(turns) % 2 or turns != ["user", "assistant"] * (len(turns) // 2) or not turns:
        return "roles do not alternate"
    if not all(_has_text(message.content) for message in candidate.messages):
        return "empty text"
    if any(BROKEN.search(message.content) for message in candidate.messages):
        return "broken text"
    return None


def _has_text(content: str) -> bool:
    """Tell whether anything of it can be seen: zero-width and other format characters cannot."""
    return any(char.isprintable() and not char.isspace() for char in content)


def count_tokens(candidates: Sequence[Candidate], tokenizer: Tokenizer) -> list[int]:
    """Return the tokens of each candidate's whole conversation, chat template included."""
    counts: list[int] = []
    for start in range(0, len(candidates), BATCH_CANDIDATES):
        batch = candidates[start : start + BATCH_CANDIDATES]
        texts = [message.content for candidate in batch for message in candidate.messages]
        encoded = iter(tokenizer.encode_batch_fast(texts, add_special_tokens=False))
        for candidate in batch:
            tokens = sum(len(next(encoded).ids) for _ in candidate.messages)
            counts.append(tokens + TEMPLATE_TOKENS_PER_MESSAGE * len(candidate.messages))
    return counts
