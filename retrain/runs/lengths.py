"""A dataset version → how many sequences a recipe learns from it, and how many tokens they have.

Every example is read as its trainer will read it, so that a malformed one is told before any
compute; tokens are counted in a sample and taken to be as many a character in the others. Loads the
tokenizer alone, neither transformers nor torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

from core.errors import DataError
from retrain.examples import Example, Message, load_split, with_replay
from retrain.preference_examples import load_prompts
from retrain.recipe import Recipe
from retrain.recipe_plan import ANSWER_SHARE, Lengths
from retrain.runs.spec import JobSpec
from retrain.training.preferences import chosen_labels, chosen_pairs

SAMPLE = 256  # texts whose tokens are counted: half a second. Their mean is known to some 3 %
# ChatML wraps a message in a start mark, the role, a newline, an end mark and a newline.
TEMPLATE_TOKENS = 5
CHARS_PER_TOKEN = 4.0  # without a tokenizer.json; of English text, as `gateway.limits` reserves
NEARLY = 1.1  # a sequence that seems to be so much over max_length may fit after all


@dataclass(frozen=True, slots=True)
class Spoken:
    """The characters and messages of one example as it is computed."""

    prompt: str
    answer: str
    messages: int


def read_lengths(spec: JobSpec, recipe: Recipe) -> Lengths:
    """Return the lengths of what the recipe learns from the job's dataset.

    Raises: DataError when a split is missing, empty or malformed.
    """
    train, validation = _sequences(spec, recipe)
    if not train:
        raise DataError(
            f"{Path(spec.dataset) / 'train.parquet'} is empty: collect more ratings, or lower what "
            "curation leaves out"
        )
    prompt_rate, answer_rate = _tokens_per_char(Path(spec.base_model), _spread(train))
    added = recipe.reinforce.max_new_tokens if recipe.reinforce else 0  # it writes its own answers
    answers = [len(one.answer) * answer_rate + added for one in train]
    whole = [
        len(one.prompt) * prompt_rate + answer + one.messages * TEMPLATE_TOKENS
        for one, answer in zip(train, answers, strict=True)
    ]
    fitting = [tokens for tokens in whole if tokens <= recipe.max_length * NEARLY] or [
        float(recipe.max_length)
    ]
    share = sum(answers) / sum(whole) if recipe.learnt_turns == "last" else 1.0
    return Lengths(
        rows=len(fitting),
        mean=sum(fitting) / len(fitting),
        longest=round(max(fitting)),
        answer_share=share or ANSWER_SHARE,
        watched_rows=len(validation),
    )


def _sequences(spec: JobSpec, recipe: Recipe) -> tuple[list[Spoken], list[Spoken]]:
    """Return what is learnt and what validates, of a pair the longer answer."""
    folder = Path(spec.dataset)
    match recipe.trainer:
        case "sft":
            learnt, held_out = load_split(folder, "train"), load_split(folder, "validation")
            return [_of(one) for one in _new(spec, recipe, learnt)], [_of(one) for one in held_out]
        case "dpo" | "reward":
            values = recipe.dpo or recipe.reward
            assert values is not None  # the recipe's own check
            pairs = chosen_pairs(spec, recipe, values.ai_pairs)
            found = [
                [_answered(one.prompt, max(one.chosen, one.rejected, key=len)) for one in split]
                for split in (pairs.train, pairs.validation)
            ]
            return found[0], found[1]
        case "kto":
            labels = chosen_labels(spec, recipe)
            found = [
                [_answered(one.prompt, one.completion) for one in split]
                for split in (labels.train, labels.validation)
            ]
            return found[0], found[1]
        case "rloo" | "grpo":
            return [_answered(one, "") for one in load_prompts(folder, "train")], []


def _new(spec: JobSpec, recipe: Recipe, examples: list[Example]) -> Sequence[Example]:
    if spec.mode != "incremental":
        return examples
    seen = load_split(Path(spec.seen_dataset), "train") if spec.seen_dataset else []
    return with_replay(examples, seen, share=recipe.replay_share, seed=recipe.seed)


def _of(example: Example) -> Spoken:
    return _answered(example.prompt, example.answer)


def _answered(prompt: Sequence[Message], answer: str) -> Spoken:
    return Spoken("\n".join(one["content"] for one in prompt), answer, len(prompt) + 1)


def _spread(found: list[Spoken]) -> list[Spoken]:
    """Return a sample from all over the list."""
    return found[:: max(1, -(-len(found) // SAMPLE))]


def _tokens_per_char(model: Path, found: list[Spoken]) -> tuple[float, float]:
    """Return those of prompts and of answers."""
    path = model / "tokenizer.json"
    if not path.is_file():
        return 1 / CHARS_PER_TOKEN, 1 / CHARS_PER_TOKEN
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise DataError(f"{path} is not a tokenizer ({error}): fetch the model again") from error
    prompts, answers = [one.prompt for one in found], [one.answer for one in found]
    return _rate(tokenizer, prompts), _rate(tokenizer, answers)


def _rate(tokenizer: Tokenizer, texts: list[str]) -> float:
    counted = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    characters = sum(map(len, texts))
    return sum(len(one.ids) for one in counted) / characters if characters else 0.0
