"""What a person sees of a search: one bar for the trials, one for the training, and the result.

Plain values go in, rich draws them. Knows nothing of how trials are chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from loop.terminal import out, print_table

if TYPE_CHECKING:
    from retrain.search.report import SearchFacts, TrialFacts
    from retrain.search.searching import TrialNews


@contextmanager
def showing(name: str, *, as_json: bool) -> Generator[Callable[[TrialNews], None]]:
    """Show a search at work; standard output stays JSON alone where a script reads."""
    console = Console(stderr=True) if as_json else out
    columns = (TextColumn("  {task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        trials = bar.add_task(f"search {name}", total=None)
        steps = bar.add_task("trial", total=None)

        def told(news: TrialNews) -> None:
            bar.update(trials, completed=news.number, total=news.wanted)
            if news.progress is not None:
                progress = news.progress
                loss = "" if progress.loss is None else f", loss {progress.loss:.3f}"
                bar.update(
                    steps,
                    description=f"trial {news.number}: {progress.phase}{loss}",
                    completed=progress.step,
                    total=progress.total_steps or None,
                )
            if news.end is not None:
                bar.update(trials, completed=news.number + 1)
                console.print(f"  {escape(_ended(news))}", highlight=False)

        yield told


def draw_search(facts: SearchFacts) -> None:
    """Print a search: its trials, and what came of it."""
    names = list(facts.trials[0].values) if facts.trials else []
    print_table(
        ("trial", "state", "loss", *names, "why"),
        [_row(one, names) for one in facts.trials],
    )
    if facts.importances:
        shares = ", ".join(f"{name} {share:.0%}" for name, share in facts.importances.items())
        out.print(f"importance: {shares}", soft_wrap=True, highlight=False)
    out.print(f"report: {facts.folder}/search.html", soft_wrap=True, highlight=False)
    if facts.best is not None:
        out.print(
            f"best: trial {facts.best.number}, validation loss {facts.best.loss:.4f}; train with "
            f"`ratchet retrain {facts.application} --recipe {facts.recipe}`",
            soft_wrap=True,
            highlight=False,
        )


def _ended(news: TrialNews) -> str:
    end = news.end
    assert end is not None
    values = ", ".join(f"{name} {value:.3g}" for name, value in news.values.items())
    loss = "" if end.loss is None else f", validation loss {end.loss:.4f}"
    why = f" ({end.why.splitlines()[0]})" if end.why else ""
    return f"trial {news.number} is {end.state}{loss}{why}: {values}"


def _row(one: TrialFacts, names: list[str]) -> tuple[str, ...]:
    loss = "-" if one.loss is None else f"{one.loss:.4f}"
    values = (f"{one.values[name]:.3g}" if name in one.values else "-" for name in names)
    return str(one.number), one.state, loss, *values, (one.why or "").partition("\n")[0]
