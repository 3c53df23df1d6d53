"""What a person sees while the loop works: headings, progress bars, results.

The stages report plain values (a stage's name, a training's progress); this module draws them
with rich on one console. Knows no stage from inside.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from curation.ledger import Progress as CurationProgress
from retrain.runs.progress import TrainProgress

TrainListener = Callable[[TrainProgress], None]


class Narrator:
    """Tells one console what happens."""

    def __init__(self, console: Console) -> None:
        self.console = console

    def chapter(self, title: str) -> None:
        """Open a new part of the story."""
        self.console.rule(f"[bold]{title}", align="left")

    def say(self, sentence: str) -> None:
        """State one fact, in rich's markup."""
        self.console.print(f"  {sentence}", highlight=False)

    def tell(self, words: str) -> None:
        """State one fact in plain words, such as a person's reason: brackets stay brackets."""
        self.say(escape(words))

    @contextmanager
    def curating(self) -> Generator[CurationProgress]:
        """Show the stages of curation; yields the function that is told of each stage."""
        with _bar(self.console, TimeElapsedColumn()) as bar:
            task = bar.add_task("curate", total=None)

            def told(stage: str, done: int, total: int) -> None:
                bar.update(task, description=f"curate: {stage}", completed=done, total=total)

            yield told
            bar.update(task, description="curate: done", completed=bar.tasks[0].total)

    @contextmanager
    def training(self) -> Generator[TrainListener]:
        """Show a training with its loss; yields the function that is told of each step."""
        columns = (TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[loss]}"))
        with _bar(self.console, *columns) as bar:
            task = bar.add_task("train", total=None, loss="")
            yield lambda progress: _draw(bar, task, progress)


def _draw(bar: Progress, task: TaskID, progress: TrainProgress) -> None:
    if progress.phase == "done":  # it has no steps of its own: the last phase's bar is full
        bar.update(task, description="train: done", completed=bar.tasks[0].total)
        return
    if progress.phase == "queue":
        first = f"{progress.step} before it" if progress.step else "the device is in use"
        bar.update(task, description=f"train: waiting, {first}")
        return
    if progress.finding is not None:
        found = progress.finding
        bar.console.print(f"  {found.severity}: {escape(found.what)}: {escape(found.mend)}")
        return
    bar.update(
        task,
        description=f"train: {progress.phase}",
        completed=progress.step,
        total=progress.total_steps or None,
    )
    if progress.loss is not None:
        bar.tasks[0].fields["loss"] = f"loss {progress.loss:.3f}"


def _bar(console: Console, *more: TextColumn | TimeElapsedColumn | TimeRemainingColumn) -> Progress:
    words = TextColumn("  {task.description}")
    return Progress(
        SpinnerColumn(), words, BarColumn(), MofNCompleteColumn(), *more, console=console
    )
