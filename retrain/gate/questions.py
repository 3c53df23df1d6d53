"""What each suite asks: from the dataset version, the live adapter's, or the suite's own file.

A job and its suites go in, questions come out, always the same ones; what a suite cannot ask is
said. Knows neither models nor scores.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as parquet

from core.gate_settings import GateSettings
from retrain.examples import Example, load_split, sample, without
from retrain.gate.perturb import PERTURBATIONS
from retrain.gate.suite import Question, Suite, changed
from retrain.gate.suite_files import ALWAYS, load_suite
from retrain.gate.verdict import MIN_EXAMPLES
from retrain.runs.spec import JobSpec

SAFETY_FILE = Path("safety") / "test.parquet"


@dataclass(frozen=True, slots=True)
class Asked:
    """A suite with its questions; `skipped` says why there are none."""

    suite: Suite
    questions: tuple[Question, ...]
    skipped: str | None = None


def gather(spec: JobSpec) -> list[Asked]:
    """Return what the job's suites ask, those that ask nothing included.

    Raises: DataError for a dataset version that cannot be read.
    """
    pool = _Pool(spec)
    return [_asked(suite, pool) for suite in suites_of(spec)]


def suites_of(spec: JobSpec) -> tuple[Suite, ...]:
    """Return the job's suites; of a job that names none, those that are always asked."""
    if spec.gate.suites:
        return spec.gate.suites
    if not spec.gate_examples:
        return ()
    settings = GateSettings(examples=spec.gate_examples)
    return tuple(load_suite(name, settings) for name in ALWAYS)


class _Pool:
    """The examples that suites draw from, each read once."""

    def __init__(self, spec: JobSpec) -> None:
        dataset = Path(spec.dataset)
        self.dataset = dataset
        self.test = load_split(dataset, "test")
        self.regression: list[Example] = []
        self.winners = self._winners(dataset, self.test, spec)
        if spec.seen_dataset is not None:
            seen = Path(spec.seen_dataset)
            asked = load_split(seen, "test")
            # what has become training data since then is no test any more
            learnt = load_split(dataset, "train") + load_split(dataset, "validation")
            self.regression = without(asked, self.test + learnt)
            self.winners |= self._winners(seen, asked, spec)

    @staticmethod
    def _winners(folder: Path, examples: Sequence[Example], spec: JobSpec) -> set[str]:
        """Return the keys of the version's test `examples` that the live adapter won."""
        path = folder / "test.parquet"
        columns = set(parquet.read_schema(path).names)
        if not spec.gate.wins or not {"messages", "interaction_id"} <= columns:
            return set()
        won = set(spec.gate.wins)
        ids = parquet.read_table(path, columns=["interaction_id"]).column(0).to_pylist()
        return {one.key for one, id_ in zip(examples, ids, strict=True) if id_ in won}


def _asked(suite: Suite, pool: _Pool) -> Asked:
    questions = _perturbed(suite, list(_drawn(suite, pool)))
    enough = MIN_EXAMPLES if suite.source in ("regression", "wins", "safety") else 1
    if len(questions) < enough:
        return Asked(suite, (), _why_none(suite, len(questions)))
    return Asked(suite, tuple(questions))


def _drawn(suite: Suite, pool: _Pool) -> Iterator[Question]:
    if suite.source == "examples":
        for item in suite.examples[: suite.limit]:
            yield Question(item.conversation, item.answer, item.schema)
        return
    for example in sample(_examples(suite, pool), suite.limit):
        yield Question(example.messages[:-1], example.answer)


def _examples(suite: Suite, pool: _Pool) -> Sequence[Example]:
    if suite.source == "test":
        return pool.test
    if suite.source == "regression":
        return pool.regression
    if suite.source == "wins":
        both = [*pool.test, *pool.regression]
        return [example for example in both if example.key in pool.winners]
    return _flagged(pool.dataset / SAFETY_FILE)


def _flagged(path: Path) -> list[Example]:
    if not path.is_file():
        return []
    rows = parquet.read_table(path, columns=["messages"]).column(0).to_pylist()
    return [Example(tuple({"role": m["role"], "content": m["content"]} for m in r)) for r in rows]


def _perturbed(suite: Suite, questions: list[Question]) -> list[Question]:
    """Return the questions as each perturbation changes them; unchanged ones ask nothing new."""
    if not suite.perturb:
        return questions
    found: list[Question] = []
    for name in suite.perturb:
        for question in questions:
            text = PERTURBATIONS[name](question.prompt, 0)
            if text != question.prompt:
                found.append(changed(question, text))
    return found


def _why_none(suite: Suite, found: int) -> str:
    if suite.source == "safety":
        return f"{found} flagged answers in the dataset version"
    if suite.source == "regression":
        return f"{found} test examples of the live adapter's data that this one does not know"
    if suite.source == "wins":
        return f"{found} held-out answers of the live adapter that users praised"
    return f"{found} questions"
