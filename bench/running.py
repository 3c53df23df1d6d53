"""How every benchmark is run: asked, timed, held against its goals, written, printed.

A `Benchmark` says what is its own: extents, options, what it measures, goals and tables. What its
JSON file has besides (machine, `goals`, `took_s`) is put together here, the same for all.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Generic, Protocol, TypeVar

from matplotlib.figure import Figure
from rich.console import Console

from bench.gateway.process import Busyness
from bench.report import Goal, machine

RESULTS = Path("bench/results")
DPI = 120  # of a drawing in pixels: readable at the width of a page. Our choice

E = TypeVar("E")  # a benchmark's own dataclass of how much is measured
Say = Callable[[str], None]
Numbers = Mapping[str, Any]


class Report(Protocol):
    """A benchmark's module that shows results."""

    def draw(self, result: Numbers) -> Figure:
        """Return the result as a drawing."""
        ...

    def print_result(self, console: Console, result: Numbers) -> None:
        """Print what was measured, and the goals."""
        ...


@dataclass(frozen=True, slots=True)
class Work(Generic[E]):
    """What a benchmark works with: what it was asked, how much, a folder that vanishes, a voice."""

    asked: argparse.Namespace
    extent: E
    folder: Path
    say: Say

    def parts(self) -> Iterator[str]:
        """Yield the parts that were asked for, telling of each when it begins."""
        for part in self.asked.parts:
            self.say(f"measuring {part}")
            yield part

    def part_folder(self, part: str) -> Path:
        """Return a new folder for a part."""
        own = self.folder / part
        own.mkdir()
        return own


@dataclass(frozen=True, slots=True)
class Benchmark(Generic[E]):
    """What is one benchmark's own; `name` is that of its package and of its files."""

    name: str
    about: str
    quick_about: str
    extent: E
    quick: E
    measure: Callable[[Work[E]], dict[str, Any]]
    goals: Callable[[Numbers], Sequence[Goal]]
    report: Report
    parts: Sequence[str] = ()  # that can be asked for alone, as `asked.parts`
    options: Sequence[tuple[str, dict[str, Any]]] = field(default=())  # of argparse, besides
    drawing: str = "png"

    def main(self) -> int:
        """Run it as the command line asks; the exit status is 0 whether or not goals are met."""
        asked = self._arguments()
        signal.signal(signal.SIGTERM, _leave)  # so that what was started is stopped
        console, began_s = Console(), time.monotonic()

        def say(text: str) -> None:
            console.print(f"[dim]{time.monotonic() - began_s:5.0f} s[/]  {text}", highlight=False)

        result = self.run(asked, self.quick if asked.quick else self.extent, say)
        self.write(result, asked.results)
        self.report.print_result(console, result)
        written = f"{asked.results}/{self.name}.json and {self.name}.{self.drawing}"
        console.print(f"written: {written}", highlight=False)
        return 0

    def run(self, asked: argparse.Namespace, extent: E, say: Say) -> dict[str, Any]:
        """Return the result of one run."""
        before, began_s = Busyness.now(), time.monotonic()
        result: dict[str, Any] = {"machine": machine()}
        with tempfile.TemporaryDirectory(prefix=f"bench-{self.name}-") as folder:
            result |= self.measure(Work(asked, extent, Path(folder), say))
        result["goals"] = [asdict(goal) for goal in self.goals(result)]
        result["took_s"] = time.monotonic() - began_s
        result["machine"]["load_after"] = os.getloadavg()[0]
        # whatever was started has ended, so it is counted as our own
        result["machine"]["others_busy_cores"] = Busyness.now().others_cores(before)
        return result

    def write(self, result: Numbers, folder: Path) -> None:
        """Write the numbers and their drawing into `folder`."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{self.name}.json").write_text(json.dumps(result, indent=1) + "\n")
        self.report.draw(result).savefig(folder / f"{self.name}.{self.drawing}", dpi=DPI)

    def _arguments(self) -> argparse.Namespace:
        parser = argparse.ArgumentParser(
            prog=f"python -m bench.{self.name}", description=self.about
        )
        parser.add_argument("--quick", action="store_true", help=self.quick_about)
        if self.parts:
            parts = [*self.parts]
            parser.add_argument("--parts", nargs="+", default=parts, choices=parts)
        for flag, values in self.options:
            parser.add_argument(flag, **values)
        parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
        return parser.parse_args()


def _leave(number: int, _frame: FrameType | None) -> None:
    sys.exit(128 + number)
