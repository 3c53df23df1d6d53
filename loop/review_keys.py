"""CURATE, at the terminal: one item shown, and what its reviewer says of it by single keys.

An assignment comes in, a decision goes out, or None to stop. Knows no desk.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

import typer
from rich.panel import Panel
from rich.text import Text

from core.errors import SettingsError
from curation.review.desk import Assignment
from curation.review.words import BEST_MARK, RUBRIC, Choice, Decision, Seen
from loop.terminal import out

JUDGE: dict[str, Choice] = {"a": "approve", "r": "reject", "c": "correct", "s": "skip"}
COMPARE: dict[str, Seen] = {"1": "first", "2": "second", "t": "tie"}
ENDS = ("q", "\x03", "\x04", "")  # q, Ctrl-C, Ctrl-D, nobody there


def ask(item: Assignment) -> Decision | None:
    """Return what the reviewer says; None to stop."""
    _show(item)
    rubric: dict[str, int] = {}
    if item.kind == "comparison":
        told = "1 first is better, 2 second, t tie, m marks, s skip, q quit"
    else:
        told = "a approve, r reject, c correct, m marks, s skip, q quit"
    out.print(told, style="bold")
    while (key := _key()) is not None:
        if key == "m":
            rubric = _marks()
            out.print(told, style="bold")
        elif key == "s":
            return Decision("skip")
        elif item.kind == "comparison" and key in COMPARE:
            return Decision("prefer", COMPARE[key], rubric, _reason())
        elif item.kind != "comparison" and key in JUDGE:
            decision = _judged(item, JUDGE[key], rubric)
            if decision is not None:
                return decision
            out.print(f"nothing was changed; {told}", style="bold")
    return None


def _judged(item: Assignment, choice: Choice, rubric: dict[str, int]) -> Decision | None:
    """Return the decision; None where a correction changed nothing."""
    if choice != "correct":
        return Decision(choice, None, rubric, _reason() if choice == "reject" else "")
    answer = item.answer or ""
    text = _edited(answer)
    if text == answer.rstrip("\n"):
        return None
    return Decision(choice, None, rubric, _reason(), text)


def _edited(text: str) -> str:
    """Return the text as the reviewer's editor leaves it, without a newline at its end.

    Raises: SettingsError when there is no such editor, or it fails.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"  # POSIX
    with tempfile.TemporaryDirectory() as folder:  # for this user's eyes alone
        file = Path(folder) / "answer.md"
        file.write_text(text + "\n")
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            raise SettingsError(
                f"the editor {editor!r} failed ({error}): set VISUAL to yours"
            ) from error
        return file.read_text().rstrip("\n")


def _show(item: Assignment) -> None:
    out.rule(item.kind)
    for message in item.prompt:
        out.print(Panel(Text(message.content), title=message.role, title_align="left"))
    answers = (
        ("answer" if item.rejected is None else "chosen answer", item.answer),
        ("answer that lost", item.rejected),
        ("first answer", item.first),
        ("second answer", item.second),
    )
    for title, text in answers:
        if text is not None:
            out.print(Panel(Text(text), title=title, title_align="left", style="cyan"))


def _marks() -> dict[str, int]:
    """Return the marks that were given; any other key leaves one out."""
    rubric: dict[str, int] = {}
    for name in RUBRIC:
        out.print(f"{name}: 1 (worst) to {BEST_MARK}, any other key for none ", end="")
        key = _key() or ""
        if key.isdecimal() and 1 <= int(key) <= BEST_MARK:
            rubric[name] = int(key)
        out.print(str(rubric.get(name, "-")))
    return rubric


def _reason() -> str:
    return typer.prompt("why (may be empty)", default="", show_default=False)


def _key() -> str | None:
    """Return the next key in small letters; None to stop. What is piped in is read as keys."""
    try:
        key = typer.getchar() if sys.stdin.isatty() else sys.stdin.read(1)
    except (EOFError, KeyboardInterrupt):
        return None
    return None if key.lower() in ENDS else key.lower()
