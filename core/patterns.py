"""Regular expressions that people write in settings: checked once, then safe on any text.

A pattern must match something, and do a bounded amount of work from each place of a text. That
is counted from its parse tree, not measured: every repetition has an upper limit, and all ways
in which the pattern can be tried from one place are few. So no text makes it slow. Pure.
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Mapping
from typing import Any

from core.errors import SettingsError

# The standard library's own parser has no public name since Python 3.11
_PARSER: Any = importlib.import_module("re._parser")

MAX_STEPS = 1_000  # some 10 µs at each place where it begins to match. Our choice
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_UNBOUNDED = 4_000_000_000  # re's own MAXREPEAT is 2**32 - 1


def checked_pattern(name: str, pattern: str) -> re.Pattern[str]:
    """Return the compiled pattern.

    Raises: SettingsError if its name is no identifier, or it is no regular expression, may match
    nothing, or can take too long.
    """
    if _NAME.fullmatch(name) is None:
        raise SettingsError(
            f"pattern name {name!r} is no identifier: use letters, digits and _, a letter first"
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # what a later Python will read otherwise
            tree = _PARSER.parse(pattern)
            compiled = re.compile(pattern)
    except (re.error, OverflowError, RecursionError, Warning) as error:
        raise SettingsError(
            f"pattern {name}: {pattern!r} is no regular expression: {error}"
        ) from error
    if tree.getwidth()[0] == 0:
        raise SettingsError(
            f"pattern {name}: {pattern!r} can match nothing: let it ask for a character at least"
        )
    if _work(name, pattern, tree)[1] > MAX_STEPS:
        raise SettingsError(
            f"pattern {name}: {pattern!r} can be tried in over {MAX_STEPS} steps from one place: "
            "use fewer alternatives and repetitions within each other, or lower limits"
        )
    return compiled


def check_patterns(patterns: Mapping[str, str]) -> None:
    """Return if every pattern can be used, and no two names are equal but for their case.

    Raises: ValueError that names the first which is not: settings tell it with their own name.
    """
    placeholders: dict[str, str] = {}
    for name, pattern in patterns.items():
        try:
            checked_pattern(name, pattern)
        except SettingsError as error:
            raise ValueError(error.message) from error
        other = placeholders.setdefault(name.upper(), name)
        if other != name:
            raise ValueError(f"patterns {other} and {name} would share a placeholder: rename one")


def _work(name: str, pattern: str, tree: Any) -> tuple[int, int]:
    """Return in how many ways the parsed parts can match at one place, and the steps of all.

    Raises: SettingsError for a repetition without an upper limit.
    """
    ways, steps = 1, 0
    for kind, argument in tree:
        of_part, steps_of_part = _work_of_part(name, pattern, str(kind), argument)
        steps = min(steps + ways * steps_of_part, _UNBOUNDED)
        ways = min(ways * of_part, _UNBOUNDED)
    return ways, steps


def _work_of_part(name: str, pattern: str, kind: str, argument: Any) -> tuple[int, int]:
    if kind in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, most, body = argument
        if int(most) >= _UNBOUNDED:
            raise SettingsError(
                f"pattern {name}: {pattern!r} repeats without a limit: "
                "write {1,20} instead of +, {0,20} instead of *"
            )
        ways, steps = _repeated(int(least), int(most), _work(name, pattern, body))
        return (1 if kind == "POSSESSIVE_REPEAT" else ways), steps
    if kind in ("BRANCH", "GROUPREF_EXISTS"):
        branches = argument[1] if kind == "BRANCH" else argument[1:]
        worked = [_work(name, pattern, branch) for branch in branches if branch is not None]
        return sum(ways for ways, _ in worked) + 1, sum(steps for _, steps in worked) + 1
    if kind == "SUBPATTERN":
        return _work(name, pattern, argument[3])
    if kind in ("ASSERT", "ASSERT_NOT", "ATOMIC_GROUP"):  # Python tries these in one way only
        body = argument if kind == "ATOMIC_GROUP" else argument[1]
        return 1, _work(name, pattern, body)[1]
    return 1, 1


def _repeated(least: int, most: int, once: tuple[int, int]) -> tuple[int, int]:
    """Return ways and steps of a part that is repeated `least` to `most` times."""
    ways_once, steps_once = once
    ways, steps, ways_so_far = int(least == 0), 0, 1
    for times in range(1, min(most, MAX_STEPS) + 1):
        steps += ways_so_far * steps_once
        ways_so_far *= ways_once
        ways += ways_so_far if times >= least else 0
        if steps > MAX_STEPS:
            return _UNBOUNDED, _UNBOUNDED
    return (ways, steps) if most <= MAX_STEPS else (_UNBOUNDED, _UNBOUNDED)
