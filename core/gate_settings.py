"""The settings of the gate: what a new adapter must show before it may ask for traffic."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr

from core.sections import Alpha, Positive, Section, Share


class GateJudgeSettings(Section):
    """A model that compares two answers, for suites with the metric `judge`."""

    base_url: str = "http://127.0.0.1:8000/v1"  # any OpenAI-compatible server
    model: str | None = None  # none: no judge, such suites are left out and said to be
    api_key: SecretStr | None = None
    concurrent: Positive = 4
    timeout_s: float = Field(default=60.0, gt=0.0)
    retries: int = Field(default=2, ge=0)


class GateSettings(Section):
    """What is asked, who answers, and how much worse an answer may be."""

    # names of retrain/gate/suites, or TOML files; `test` and `regression` are asked in any case
    suites: tuple[str, ...] = ("wins", "safety", "format", "retention", "robustness")
    examples: Positive = 64  # of each suite, at most
    max_loss_ratio: float = 1.05  # held-out loss at most 5 % above the live adapter's
    max_drop: float = Field(default=0.02, ge=0.0)  # of a suite's score, below the live adapter's
    # a drop that must be ruled out, or a person decides. Our choice: half a canary's usual margin
    max_doubt: float = Field(default=0.1, ge=0.0)
    level: Alpha = 0.95  # of the intervals, by paired bootstrap
    # engine: through vLLM, as users get them; auto: there if it runs and has the model
    answers: Literal["auto", "engine", "transformers"] = "auto"
    concurrent: Positive = 8  # questions that the engine has at once, beside its users'
    max_tokens: Positive = 128  # a longer answer is cut and scored as it is
    max_latency_ratio: float | None = Field(default=None, gt=0.0)  # p95, over the live adapter's
    encoder: Path | None = None  # for BERTScore; none: the base model's own hidden states
    judge: GateJudgeSettings = GateJudgeSettings()
    decontaminate: bool = True  # nothing that a suite's own questions ask becomes training data
    min_retention: Share = 0.98  # of general questions that the base model knows. Our goal
