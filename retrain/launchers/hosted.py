"""Fine-tuning by a model's owner: OpenAI's fine-tuning API, or Azure OpenAI's.

A dataset version goes out as JSON lines of messages, a job is made and followed, and the name of
the tuned model comes back. There is no adapter: the model stays there, and is asked through the
owner's API. Whoever does this gives people's words away: an erasure here does not reach them.

Source: the fine-tuning guide, "Managed Fine-tuning Services"; OpenAI's API reference.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from core.errors import DataError, SettingsError, TrainingError
from core.launcher_settings import HostedSettings
from retrain.examples import Example, load_split
from retrain.launchers.following import Stopped, Tell
from retrain.recipe import Recipe
from retrain.runs.progress import TrainProgress

MIN_EXAMPLES = 10  # OpenAI refuses fewer
ENDED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True, slots=True)
class HostedModel:
    """What a job came to."""

    model: str  # the tuned model's name
    job: str
    trained_tokens: int | None


@dataclass(frozen=True)
class HostedTraining:
    """A model's owner who trains for us. `client` is an `openai.OpenAI` or `openai.AzureOpenAI`."""

    client: Any
    settings: HostedSettings
    say: Callable[[str], None] = print

    def train(
        self, dataset: Path, recipe: Recipe, *, name: str, tell: Tell, stopped: Stopped
    ) -> HostedModel:
        """Train the settings' model on the dataset version's folder and return the tuned one.

        `name` (at most 64 characters) becomes part of the model's name.

        Raises: DataError with too few examples; TrainingError as the owner says.
        """
        train, validation = load_split(dataset, "train"), load_split(dataset, "validation")
        if len(train) < MIN_EXAMPLES:
            raise DataError(
                f"{dataset.name} has {len(train)} examples, hosted fine-tuning needs "
                f"{MIN_EXAMPLES}: collect more ratings"
            )
        job = self._begin(train, validation, recipe, name)
        self.say(f"job {job.id}: {job.status}")
        return self.follow(job.id, tell=tell, stopped=stopped)

    def follow(self, job_id: str, *, tell: Tell, stopped: Stopped) -> HostedModel:
        """Follow a job to its end, also one that another process began.

        Raises: TrainingError when it failed or was cancelled.
        """
        heard: set[str] = set()
        while True:
            job = self.client.fine_tuning.jobs.retrieve(job_id)
            self._listen(job_id, heard, tell)
            if job.status in ENDED:
                return _outcome(job)
            if stopped():
                self.client.fine_tuning.jobs.cancel(job_id)
                raise TrainingError(f"the hosted job {job_id} was cancelled")
            time.sleep(self.settings.poll_s)

    def _begin(
        self, train: Sequence[Example], validation: Sequence[Example], recipe: Recipe, name: str
    ) -> Any:
        files = {"training_file": self._upload("train", train)}
        if validation:
            files["validation_file"] = self._upload("validation", validation)
        supervised = {
            "hyperparameters": {
                "n_epochs": max(1, round(recipe.epochs)),
                "batch_size": recipe.batch_size * recipe.gradient_accumulation,
            }
        }
        return self.client.fine_tuning.jobs.create(
            model=self.settings.model,
            method={"type": "supervised", "supervised": supervised},
            suffix=name[:64],
            seed=recipe.seed,
            **files,
        )

    def _upload(self, split: str, examples: Sequence[Example]) -> str:
        lines = b"".join(
            msgspec.json.encode({"messages": example.messages}) + b"\n" for example in examples
        )
        self.say(f"sending {len(examples)} {split} examples, {len(lines):,} bytes")
        sent = self.client.files.create(
            file=(f"{split}.jsonl", io.BytesIO(lines)), purpose="fine-tune"
        )
        return sent.id

    def _listen(self, job_id: str, heard: set[str], tell: Tell) -> None:
        """Tell the events that are new, the oldest first."""
        events = self.client.fine_tuning.jobs.list_events(job_id, limit=100).data
        for event in reversed(events):
            if event.id in heard:
                continue
            heard.add(event.id)
            step = _progress(event.data if event.type == "metrics" else None)
            if step is not None:
                tell(step)
            else:
                self.say(event.message)


def open_hosted(settings: HostedSettings, say: Callable[[str], None] = print) -> HostedTraining:
    """Return the owner that the settings name.

    Raises: SettingsError without the client or a key.
    """
    try:
        import openai
    except ImportError as error:
        raise SettingsError(
            "hosted fine-tuning needs OpenAI's client: `pip install ratchet-llm[augment]`"
        ) from error
    key = settings.api_key.get_secret_value() if settings.api_key else None
    try:
        if settings.azure_endpoint:
            client = openai.AzureOpenAI(
                azure_endpoint=settings.azure_endpoint,
                api_version=settings.azure_api_version,
                api_key=key,
            )
        else:
            client = openai.OpenAI(base_url=settings.base_url, api_key=key)
    except openai.OpenAIError as error:
        raise SettingsError(f"launchers.hosted: {error}") from error
    return HostedTraining(client, settings, say)


def _outcome(job: Any) -> HostedModel:
    if job.status == "succeeded":
        return HostedModel(job.fine_tuned_model, job.id, job.trained_tokens)
    why = getattr(job.error, "message", None) or "no reason was given"
    raise TrainingError(f"the hosted job {job.id} {job.status}: {why}")


def _progress(data: Any) -> TrainProgress | None:
    """Return the progress in an event of metrics, or None where there is none."""
    if not isinstance(data, dict) or "step" not in data:
        return None
    return TrainProgress(
        "train",
        step=int(data["step"]),
        total_steps=int(data.get("total_steps") or 0),
        loss=data.get("train_loss"),
        validation_loss=data.get("valid_loss") or data.get("full_valid_loss"),
    )
