"""Every model is asked every suite's questions: answers, and how likely it finds the references.

Prepared suites go in, what each model said comes out. The engine answers where it runs and has the
base model, else `generate`; likelihoods are measured in this process. Imports torch.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.errors import GateError
from retrain.gate.answering import Answerer, Label, Model, answer_all, summary
from retrain.gate.engine_answers import EngineAnswers
from retrain.gate.generated_answers import GeneratedAnswers
from retrain.gate.losses import Likelihood, answer_likelihoods
from retrain.gate.preparing import Prepared, Ready
from retrain.gate.suite import Answer, Suite
from retrain.gate.suite_files import ALWAYS
from retrain.gate.verdict import Answering
from retrain.recipe import Recipe
from retrain.recipe_rules import HOT_SERVED
from retrain.runs.progress import Reporter, TrainProgress
from retrain.runs.spec import JobSpec, trained_folder
from retrain.training.methods import load_trained, resolve_dtype


@dataclass
class Heard:
    """All that one model said, by the key of the ask and of the question."""

    answers: Mapping[str, Answer]
    likelihoods: Mapping[str, Likelihood]
    answering: Answering


@dataclass
class Loaded:
    """Gives the models, one at a time in memory."""

    spec: JobSpec
    recipe: Recipe
    last: dict[Label, Any] = field(default_factory=dict[Label, Any])

    def __call__(self, model: Model) -> Any:
        """Return the model, loaded unless it is the one that was asked for last."""
        if model.label not in self.last:
            self.last.clear()
            dtype = resolve_dtype(self.recipe.dtype)
            self.last[model.label] = load_trained(self.spec.base_model, model.folder, dtype).eval()
        return self.last[model.label]


def answerer_for(
    spec: JobSpec, recipe: Recipe, loaded: Loaded, tokenizer: Any
) -> tuple[Answerer, str]:
    """Return who answers for all models, and that in words.

    Raises: GateError when only the engine may, and cannot.
    """
    generated = GeneratedAnswers(loaded, tokenizer)
    if spec.gate.answers == "transformers" or spec.gate.engine is None:
        return generated, generated.name
    engine = EngineAnswers(
        spec.gate.engine,
        spec.run_id,
        concurrent=spec.gate.concurrent,
        stop_id=tokenizer.eos_token_id,
    )
    why = engine.why_not(spec.base_model)
    if why is None and recipe.method not in HOT_SERVED:
        why = f"vLLM does not load {recipe.method} adapters"
    if why is None:
        return engine, engine.name
    if spec.gate.answers == "engine":
        raise GateError(f'gate.answers is "engine", but {why}: start it, or set "auto"')
    return generated, f"{generated.name}: {why}"


def _models(spec: JobSpec, asked: Sequence[Ready], folder: Path) -> Iterator[Model]:
    """Yield the models that the suites compare; where the base is live, it is asked once."""
    live = Path(spec.live_adapter).resolve() if spec.live_adapter else None
    yield Model("candidate", trained_folder(folder).resolve())
    yield Model("live", live)
    if live is not None and any(one.suite.against == "base" for one in asked):
        yield Model("base", None)


def _asks(label: Label, asked: Sequence[Ready], *, alone: bool) -> list[Prepared]:
    """Return what a model is asked: all, or what it is compared in."""
    wanted: list[Prepared] = []
    for ready in asked:
        against = "live" if alone and ready.suite.against == "base" else ready.suite.against
        if label == "candidate" or label == against or _is_likely(ready.suite):
            wanted += ready.prepared
    return wanted


def hear(
    spec: JobSpec, asked: Sequence[Ready], by: Answerer, loaded: Loaded, reporter: Reporter
) -> dict[Label, Heard]:
    """Return what every model said, and how likely it found the references."""
    models = list(_models(spec, asked, reporter.folder))
    alone = spec.live_adapter is None
    asks = {model.label: _asks(model.label, asked, alone=alone) for model in models}
    likely = [one for each in asked if _is_likely(each.suite) for one in each.prepared]
    unique = {one.question.key: one for one in likely if one.encoded is not None}
    total = sum(len({one.ask.key for one in each}) for each in asks.values())
    tell = _counter(reporter, total + 2 * len(unique))
    heard: dict[Label, Heard] = {}
    for model in models:
        began = time.monotonic()
        answers = answer_all(
            reporter.folder, by, model, [one.ask for one in asks[model.label]], tell
        )
        took = summary(list(answers.values()), time.monotonic() - began, spec.gate.usd_per_hour)
        measured: dict[str, Likelihood] = {}
        if model.label != "base" and unique:
            encoded = [one.encoded for one in unique.values() if one.encoded]
            values = answer_likelihoods(loaded(model), encoded, tell)
            measured = dict(zip(unique, values, strict=True))
        heard[model.label] = Heard(answers, measured, took)
    return heard


def _is_likely(suite: Suite) -> bool:
    return suite.name in ALWAYS or suite.metric == "likelihood"


def _counter(reporter: Reporter, total: int) -> Callable[[int], None]:
    done = 0

    def tell(examples: int) -> None:
        nonlocal done
        done += examples
        reporter.tell(TrainProgress("evaluate", step=done, total_steps=total))

    return tell
