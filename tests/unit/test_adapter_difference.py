"""How two adapters differ: by what they were made of, and by what they add to the base model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from core.errors import DataError
from retrain.registry.difference import Distance, changes, distance
from retrain.registry.servable import WEIGHTS_FILE
from tests.unit.registry_world import Registry, open_registry


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    with open_registry(tmp_path) as opened:
        yield opened


def test_fields_that_differ_are_named(registry: Registry) -> None:
    """Numbers of the gate and of the run; what is equal is left out."""
    one, other = registry.add("run-1"), registry.add("run-2", loss=0.3)
    found = {change.field: (change.old, change.new) for change in changes(one, other)}
    assert found["metrics.test_loss"] == (0.4, 0.3)
    assert found["gate.numbers.test.candidate.loss"] == (0.4, 0.3)
    assert not [field for field in found if field.startswith("hyperparameters")]


def test_the_same_sums_are_no_distance(registry: Registry) -> None:
    """Other matrices with the same product add the same to the base model."""
    one, other = registry.add("run-1"), registry.add("run-2")
    path = Path(other.path) / WEIGHTS_FILE
    tensors = load_file(path)
    scaled = {
        name: np.ascontiguousarray(value * (2.0 if ".lora_A." in name else 0.5))
        for name, value in tensors.items()
    }
    save_file(scaled, path)
    apart = known(distance(one, other))
    assert apart.relative == pytest.approx(0.0, abs=1e-6)
    assert apart.cosine == pytest.approx(1.0)


def test_distance_is_that_of_the_sums(registry: Registry) -> None:
    """A sum of twice the size is one whole away, in the same direction; another seed is not."""
    one, other = registry.add("run-1"), registry.add("run-2")
    path = Path(other.path) / WEIGHTS_FILE
    tensors = load_file(path)
    save_file(
        {name: value * (2.0 if ".lora_B." in name else 1.0) for name, value in tensors.items()},
        path,
    )
    apart = known(distance(one, other))
    assert (apart.relative, apart.cosine) == (pytest.approx(1.0), pytest.approx(1.0))
    strange = registry.add("run-3", seed=7)
    assert abs(known(distance(one, strange)).cosine) < 0.5


def test_what_is_no_lora_is_not_compared(registry: Registry) -> None:
    """Nor is a file that cannot be read; nothing is an infinite step from something."""
    one, other = registry.add("run-1"), registry.add("run-2")
    nothing = registry.add("run-3", strength=0.0)
    assert known(distance(nothing, one)).relative == float("inf")
    (Path(other.path) / WEIGHTS_FILE).write_bytes(b"none")
    with pytest.raises(DataError, match="cannot be compared"):
        distance(one, other)
    other.rank = 0
    assert distance(one, other) is None


def known(found: Distance | None) -> Distance:
    """Return the distance, which there is."""
    assert found is not None
    return found
