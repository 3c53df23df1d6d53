"""CURATE: train, validation and test without leakage, and stable from version to version.

Examples that share a subject, a prompt or a near-duplicate prompt form a group, and a group goes
whole into one split. What an earlier version decided stays; new groups are ordered by hash and
fill the splits up to their shares. Pure: candidates and history in, splits and drops out.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from core.errors import DataError
from curation.candidates import Candidate, Drop, Sieved
from curation.disjoint_sets import DisjointSets
from curation.history import SPLITS, History, Split
from curation.similarity import Near, prompt_key

Splits = Mapping[str, Split]  # interaction id → split
Members = Mapping[str, Sequence[str]]  # root of a group → interaction ids, oldest first


@dataclass(frozen=True, slots=True)
class Assigned(Sieved):
    """What the stage kept and dropped, and the split of each kept candidate."""

    splits: Splits = field(default_factory=dict[str, Split])


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all examples, 0-1; train gets the rest. A share of 0 leaves its split empty."""

    validation: float
    test: float

    def targets(self, examples: int) -> dict[Split, float]:
        """Return how many examples to hold out, at least one where the share is not 0."""
        shares: dict[Split, float] = {"test": self.test, "validation": self.validation}
        return {split: max(1.0, share * examples) for split, share in shares.items() if share}


class Groups:
    """Sets of names that hang together, each bound to at most one split."""

    def __init__(self, bound: Mapping[str, Split]) -> None:
        self._sets = DisjointSets()
        self._split = dict(bound)  # by root

    def root(self, name: str) -> str:
        """Return the name that stands for the group of `name`."""
        return self._sets.root(name)

    def split(self, name: str) -> Split | None:
        """Return the split that the group of `name` is bound to."""
        return self._split.get(self.root(name))

    def join(self, names: Sequence[str]) -> bool:
        """Make one group of the groups of `names`, unless they are bound to different splits."""
        splits: set[Split] = {split for name in names if (split := self.split(name)) is not None}
        if len(splits) > 1:
            return False
        root = self._sets.join(names)
        for split in splits:
            self._split[root] = split
        return True


def assign_splits(
    candidates: Sequence[Candidate], near: Near, history: History, shares: Shares
) -> Assigned:
    """Return the candidates that belong to one split, each with it.

    `near` must know the history's prompts too. A candidate that ties together two splits of
    earlier versions is dropped: "would leak".

    Raises: DataError when there are too few groups to fill every split.
    """
    groups = Groups(_bound(history))
    followed = _followed(candidates)
    kept: list[Candidate] = []
    dropped: list[Drop] = []
    for candidate in sorted(candidates, key=lambda c: (history.preference(c), *_age(c))):
        if groups.join([*_own_names(candidate), *_ties(candidate, near, followed)]):
            kept.append(candidate)
        else:
            dropped.append(Drop(candidate.interaction_id, "would leak"))
    kept.sort(key=_age)
    members: defaultdict[str, list[str]] = defaultdict(list)
    for candidate in kept:
        root = groups.root(f"interaction {candidate.interaction_id}")
        members[root].append(candidate.interaction_id)
    placed = place_groups(members, {root: groups.split(root) for root in members}, shares)
    splits: dict[str, Split] = {id_: placed[root] for root, ids in members.items() for id_ in ids}
    return Assigned(kept, dropped, splits=splits)


def place_groups(
    members: Members, bound: Mapping[str, Split | None], shares: Shares
) -> dict[str, Split]:
    """Return a split for each group: the bound one, else by hash order what has room, else train.

    Raises: DataError when a split that has a share stays empty.
    """
    placed: dict[str, Split] = {root: split for root, split in bound.items() if split}
    sizes = Counter({split: 0 for split in SPLITS})
    for root, split in placed.items():
        sizes[split] += len(members[root])
    targets = shares.targets(sum(len(ids) for ids in members.values()))
    new = sorted(members.keys() - placed.keys(), key=lambda root: _hash(members[root][0]))
    for root in new:
        size = len(members[root])
        # a split has room while the group brings it nearer to its target
        room: list[Split] = [
            split for split in targets if sizes[split] + size / 2 <= targets[split]
        ]
        placed[root] = room[0] if room else "train"
        sizes[placed[root]] += size
    _give_empty_splits_one(placed, new, members, targets)
    _check_filled(placed, members, ("train", *targets))
    return placed


def check_no_leak(
    candidates: Sequence[Candidate], splits: Splits, near: Near, history: History
) -> None:
    """Check that no subject, prompt or near-duplicate prompt is in two splits, now or earlier.

    Raises: DataError that names the first one that is.
    """
    seen = dict(_bound(history))
    for candidate in candidates:
        split = splits[candidate.interaction_id]
        own = _own_names(candidate)
        for name in (
            *own,
            *(f"prompt {key}" for key in near.neighbours.get(candidate.prompt_key, ())),
        ):
            if seen.get(name, split) != split:
                raise DataError(
                    f"interaction {candidate.interaction_id} is in {split}, but its {name} is in "
                    f"{seen[name]}: nothing was written; this is a fault in curation.split"
                )
        seen.update(dict.fromkeys(own, split))


def _bound(history: History) -> dict[str, Split]:
    return {
        **{f"interaction {id_}": split for id_, split in history.interactions.items()},
        **{f"subject {subject}": split for subject, split in history.subjects.items()},
        **{f"prompt {key}": split for key, split in history.prompts.items()},
    }


def _own_names(candidate: Candidate) -> list[str]:
    names = [f"interaction {candidate.interaction_id}", f"prompt {candidate.prompt_key}"]
    return names if candidate.subject is None else [*names, f"subject {candidate.subject}"]


def _ties(candidate: Candidate, near: Near, followed: frozenset[str]) -> Iterator[str]:
    """Yield the names by which the candidate hangs together with others."""
    for key in near.neighbours.get(candidate.prompt_key, ()):
        yield f"prompt {key}"
    if candidate.subject is None:  # then only the text tells that two turns are one conversation
        for key in _conversations(candidate):
            if key in followed:
                yield f"conversation {key}"


def _followed(candidates: Sequence[Candidate]) -> frozenset[str]:
    """Return the keys of the whole conversations of candidates without a subject."""
    return frozenset(prompt_key(c.messages) for c in candidates if c.subject is None)


def _conversations(candidate: Candidate) -> Iterator[str]:
    """Yield a key for each beginning of the conversation that ends with an answer."""
    for end, message in enumerate(candidate.messages, start=1):
        if message.role == "assistant":
            yield prompt_key(candidate.messages[:end])


def _give_empty_splits_one(
    placed: dict[str, Split], new: Sequence[str], members: Members, targets: Mapping[Split, float]
) -> None:
    """Move the smallest new group of train to each split that is empty, while train has two."""
    for split in targets:
        movable = [root for root in new if placed[root] == "train"]
        in_train = sum(own == "train" for own in placed.values())
        if split not in placed.values() and movable and in_train > 1:
            placed[min(movable, key=lambda root: len(members[root]))] = split


def _check_filled(placed: Mapping[str, Split], members: Members, required: Sequence[Split]) -> None:
    empty = [split for split in required if split not in placed.values()]
    if not empty:
        return
    examples = sum(len(ids) for ids in members.values())
    raise DataError(
        f"{examples} examples form only {len(members)} groups that share neither a subject nor "
        f"near-duplicate prompts, and nothing is left for {' and '.join(empty)}: gather ratings "
        f"from at least {len(empty)} more subjects with questions of their own (a long fixed text "
        "belongs in the system message, not in the user's), or set the split's share to 0"
    )


def _age(candidate: Candidate) -> tuple[datetime, str]:
    return candidate.started_at, candidate.interaction_id


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
