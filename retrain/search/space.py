"""What a search may vary: a TOML file goes in, a frozen `Space` comes out, in order of impact.

The order is the fine-tuning guide's ("Systematic Hyperparameter Search"), whatever the file's.
Spaces are in `retrain/search/spaces`; a path to a TOML file is as good as a name.
"""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, ValidationError, model_validator

from core.errors import SettingsError
from core.sections import Section

FOLDER = Path(__file__).parent / "spaces"
# Source: guide, Systematic Hyperparameter Search, Priority Order; dropout is ours, and last.
ORDER = (
    *("learning_rate", "effective_batch", "epochs", "warmup_ratio", "weight_decay"),
    *("rank", "dropout"),
)
Number = int | float
WHOLE = frozenset({"effective_batch", "rank"})


class Range(Section):
    """What one parameter may be: one of `choices`, or anything from `low` to `high`."""

    low: Number | None = None
    high: Number | None = None
    log: bool = False  # the ratio counts, not the difference
    choices: tuple[Number, ...] = ()
    grid: tuple[Number, ...] = ()

    @property
    def values(self) -> tuple[Number, ...]:
        """What a grid search tries."""
        ends = () if self.low is None or self.high is None else (self.low, self.high)
        return self.grid or self.choices or ends

    @property
    def is_whole(self) -> bool:
        """Whether only whole numbers are meant."""
        return isinstance(self.low, int) and isinstance(self.high, int)

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        given = self.low is not None, self.high is not None
        if bool(self.choices) == any(given) or given[0] != given[1]:
            raise ValueError("give either choices, or both low and high")
        if self.low is None or self.high is None:
            return self
        if self.low >= self.high:
            raise ValueError(f"low ({self.low}) must be below high ({self.high})")
        if self.log and self.low <= 0:
            raise ValueError(f"low is {self.low}: with log = true it must be above 0")
        return self


class Space(Section):
    """What a search may vary; None where the recipe's own value stays."""

    name: str
    evaluations_per_epoch: Annotated[int, Field(ge=1)] = 2
    learning_rate: Range | None = None
    effective_batch: Range | None = None
    epochs: Range | None = None
    warmup_ratio: Range | None = None
    weight_decay: Range | None = None
    rank: Range | None = None
    dropout: Range | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.ranges():
            raise ValueError(f"nothing varies: name at least one of {', '.join(ORDER)}")
        for name in WHOLE & self.ranges().keys():
            numbers = (*self.ranges()[name].values, *self.ranges()[name].choices)
            if any(not isinstance(number, int) or number < 1 for number in numbers):
                raise ValueError(f"{name} takes whole numbers from 1 on, got {numbers}")
        return self

    def ranges(self) -> dict[str, Range]:
        """Return what varies, in order of impact."""
        found = {name: getattr(self, name) for name in ORDER}
        return {name: one for name, one in found.items() if one is not None}

    def top(self, count: int) -> Space:
        """Return the space of the `count` parameters that matter most."""
        left_out = dict.fromkeys(list(self.ranges())[count:], None)
        return self.model_copy(update=left_out)

    def within(self, trials: int) -> Space:
        """Return the space of as many parameters as a grid of at most `trials` points can hold."""
        count, size = 0, 1
        for one in self.ranges().values():
            size *= len(one.values)
            if size > trials:
                break
            count += 1
        return self.top(max(1, count))

    def grid_size(self) -> int:
        """Return how many points the grid has."""
        return math.prod(len(one.values) for one in self.ranges().values())


def load_space(name: str | Path) -> Space:
    """Return the space called `name` in `retrain/search/spaces`, or that of the TOML file `name`.

    Raises: SettingsError that names the file and each wrong key.
    """
    path = Path(name) if str(name).endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        values = tomllib.loads(path.read_text())
        return Space.model_validate({"name": path.stem} | values)
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in FOLDER.glob("*.toml")))
        raise SettingsError(f"no space {str(name)!r}: use {known} or a .toml file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"space {path} is not valid TOML: {error}") from error
    except ValidationError as error:
        told = "; ".join(
            f"{'.'.join(map(str, issue['loc'])) or 'space'}: {issue['msg']}"
            for issue in error.errors()
        )
        raise SettingsError(f"space {path}: {told}") from error
