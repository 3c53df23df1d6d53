"""What an hour of a machine costs: a table in TOML, ours or the user's.

A file goes in, machines by name come out. Knows nothing of runs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from core.cost_settings import CostSettings
from core.errors import SettingsError
from core.sections import Positive, Section

FILE = Path(__file__).parent / "prices.toml"


class Machine(Section):
    """A kind of machine that can be rented by the hour."""

    gpus: Annotated[int, Field(ge=0)]
    gpu: str
    gpu_gb: Annotated[float, Field(gt=0.0)]  # memory of each
    ram_gb: Positive
    usd_per_hour: Annotated[float, Field(ge=0.0)]  # on demand


class _Table(Section):
    instances: dict[str, Machine]


def read_prices(settings: CostSettings) -> Mapping[str, Machine]:
    """Return the machines of the user's table, or of ours.

    Raises: SettingsError that names the file and what is wrong in it.
    """
    path = settings.prices or FILE
    try:
        return _Table.model_validate(tomllib.loads(path.read_text())).instances
    except OSError as error:
        raise SettingsError(f"costs.prices is {path}, which cannot be read: {error}") from error
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise SettingsError(f"costs.prices is {path}, which is no price table: {error}") from error


def hourly_price(settings: CostSettings) -> float | None:
    """Return what an hour of the training machine costs, in US dollars; None if nobody said.

    Raises: SettingsError for an instance that the table does not have.
    """
    if settings.usd_per_hour is not None:
        return settings.usd_per_hour
    if settings.instance is None:
        return None
    return find_machine(read_prices(settings), settings.instance).usd_per_hour


def find_machine(table: Mapping[str, Machine], name: str) -> Machine:
    """Return the machine of that name.

    Raises: SettingsError that names those there are.
    """
    machine = table.get(name)
    if machine is None:
        raise SettingsError(f"no instance {name!r} in the price table: it has {', '.join(table)}")
    return machine
