"""CURATE: names that hang together, and those that do not. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Generic, TypeVar

N = TypeVar("N", int, str)  # what can be compared and hashed


class DisjointSets(Generic[N]):
    """Sets of names without a common member; a name never joined is a set of its own.

    Source: Tarjan and van Leeuwen 1984, path halving.
    """

    def __init__(self) -> None:
        self._parent: dict[N, N] = {}

    def root(self, name: N) -> N:
        """Return the member that stands for the set of `name`."""
        parent = self._parent.get(name, name)
        while parent != name:
            self._parent[name] = self._parent.get(parent, parent)
            name, parent = parent, self._parent.get(parent, parent)
        return name

    def join(self, names: Iterable[N]) -> N:
        """Make one set of the sets of `names`, at least one, and return its root."""
        roots = {self.root(name) for name in names}
        first = min(roots)
        self._parent.update(dict.fromkeys(roots, first))
        return first
