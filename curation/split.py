"""CURATE: train, validation and test without leakage, and stable from version to version.

Examples that share a subject, a prompt or a near-duplicate prompt form a group, and a group goes
whole into one split. What an earlier version decided stays; new groups are ordered by hash (or by
time) and fill the splits up to their shares, topic by topic. Pure: keys and history in, splits and
drops out.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from core.errors import DataError
from curation.columns import Codes, instants, is_kind
from curation.disjoint_sets import DisjointSets
from curation.history import SPLITS, History, Split
from curation.near import Near
from curation.table import Outcome, Table, Why, sieve

ANCHORS: dict[Split, int] = {split: place for place, split in enumerate(SPLITS)}  # first nodes


@dataclass(frozen=True, slots=True)
class Shares:
    """Of all examples, 0-1; train gets the rest. A share of 0 leaves its split empty."""

    validation: float
    test: float
    temporal: bool = False  # the newest groups are held out, rather than those with low hashes

    def targets(self, examples: int) -> dict[Split, float]:
        """Return how many examples to hold out, at least one where the share is not 0."""
        return {split: max(1.0, share * examples) for split, share in self.held_out.items()}

    def of_topic(self, examples: int) -> dict[Split, float]:
        """Return how many examples of a topic to hold out; of a small one, none."""
        return {split: share * examples for split, share in self.held_out.items()}

    @property
    def held_out(self) -> dict[Split, float]:
        """The shares that are not 0, test first."""
        shares: dict[Split, float] = {"test": self.test, "validation": self.validation}
        return {split: share for split, share in shares.items() if share}


@dataclass(frozen=True, slots=True)
class Group:
    """What must stay together: so many examples, the oldest's interaction, topic, newest time."""

    size: int
    first: str
    topic: int = 0
    newest: int = 0
    shows: bool = True  # it has a demonstration: no split may be without


@dataclass(frozen=True, slots=True)
class Prompts:
    """The prompts of a table's rows by number, which are near, and where earlier versions put them.

    `bound` holds prompts by number.
    """

    numbers: Codes
    near: Near
    bound: Mapping[int, Split]


@dataclass(frozen=True, slots=True)
class Assigned:
    """What the stage kept and dropped, and the split of each kept row."""

    outcome: Outcome
    splits: list[Split]


def assign_splits(table: Table, prompts: Prompts, history: History, shares: Shares) -> Assigned:
    """Return the rows that belong to one split, each with it.

    Rows come in order of preference. One that ties together two splits of earlier versions is
    dropped: "would leak".

    Raises: DataError when there are too few groups to fill every split.
    """
    ties = _ties(table, prompts, history)
    sets, roots = _joined(ties, table.num_rows)
    outcome = sieve(table, [Why("would leak") if root is None else None for root in roots])
    kept = [sets.root(root) for root in roots if root is not None]
    groups = _groups(outcome.kept, kept)
    anchors: dict[int, Split] = {sets.root(anchor): split for split, anchor in ANCHORS.items()}
    bound: dict[int, Split] = {root: anchors[root] for root in anchors if root in groups}
    placed = place_groups(groups, bound, shares)
    return Assigned(outcome, [placed[root] for root in kept])


def place_groups(
    groups: Mapping[int, Group], bound: Mapping[int, Split], shares: Shares
) -> dict[int, Split]:
    """Return a split for each group: the bound one, else what has room, else train.

    A split fills topic by topic first, so that it holds the topics as the whole does, and then
    with what comes next. The order is by hash, or by time with the newest first.

    Raises: DataError when a split that has a share stays empty.
    """
    placed = dict(bound)
    total = Counter[Split]()
    of_topic: defaultdict[int, Counter[Split]] = defaultdict(Counter)
    topics = Counter[int]()
    for root, group in groups.items():
        topics[group.topic] += group.size
        if root in placed:
            total[placed[root]] += group.size
            of_topic[group.topic][placed[root]] += group.size
    targets = shares.targets(sum(topics.values()))
    new = sorted(groups.keys() - placed.keys(), key=lambda root: _order(groups[root], shares))
    if not shares.temporal and len(topics) > 1:
        for root in new:
            group, have = groups[root], of_topic[groups[root].topic]
            wanted = shares.of_topic(topics[group.topic])
            if split := _with_room(group.size, have, wanted):
                placed[root] = split
                have[split] += group.size
                total[split] += group.size
    for root in new:
        if root not in placed:
            placed[root] = _with_room(groups[root].size, total, targets) or "train"
            total[placed[root]] += groups[root].size
    required: tuple[Split, ...] = ("train", *targets)
    _give_empty_splits_one(placed, new, groups, required)
    _check_filled(placed, groups, required)
    return placed


def check_no_leak(
    table: Table, splits: Sequence[Split], prompts: Prompts, history: History
) -> None:
    """Check that no subject, prompt or near-duplicate prompt is in two splits, now or earlier.

    Raises: DataError that names the first one that is.
    """
    seen: dict[str, dict[object, Split]] = {
        "interaction": {**history.interactions},
        "subject": {**history.subjects},
        "prompt": {**prompts.bound},
    }
    rows = zip(
        table["interaction_id"].to_pylist(), table["subject"].to_pylist(),
        prompts.numbers.tolist(), splits, strict=True,
    )  # fmt: skip
    for interaction, subject, prompt, split in rows:
        own: list[tuple[str, object]] = [("interaction", interaction), ("prompt", prompt)]
        own += [("subject", subject)] if subject is not None else []
        like = [("prompt", other) for other in prompts.near.neighbours.get(prompt, ())]
        for kind, name in (*own, *like):
            if seen[kind].get(name, split) != split:
                raise DataError(
                    f"interaction {interaction} is in {split}, but its {kind} {name} is in "
                    f"{seen[kind][name]}: nothing was written; this is a fault in curation.split"
                )
        for kind, name in own:
            seen[kind][name] = split


def _ties(table: Table, prompts: Prompts, history: History) -> Iterator[list[int]]:
    """Yield of each row the nodes that it ties together: anchors, prompts, subjects, turns."""
    first = len(ANCHORS)
    nodes: dict[object, int] = {}  # of subjects and turns, after those of prompts
    beyond = (
        first + int(max(prompts.numbers.max(initial=-1), prompts.near.pairs.max(initial=-1))) + 1
    )
    turns, seeds = table["turns"].to_pylist(), _seeds(table)
    followed = {own[-1] for own in turns if own}  # whole conversations of those without a subject
    written_from = {seed for own in seeds for seed in own}
    rows = zip(
        table["interaction_id"].to_pylist(), table["subject"].to_pylist(),
        prompts.numbers.tolist(), turns, seeds, strict=True,
    )  # fmt: skip
    for interaction, subject, prompt, own_turns, own_seeds in rows:
        like = (prompt, *prompts.near.neighbours.get(prompt, ()))
        tied = [first + other for other in like]
        bound: list[Split | None] = [prompts.bound.get(other) for other in like]
        bound.extend(map(history.interactions.get, (interaction, *own_seeds)))
        names: list[object] = [turn for turn in own_turns or () if turn in followed]
        names += [("seed", seed) for seed in own_seeds]
        if interaction in written_from:
            names.append(("seed", interaction))
        if subject is not None:
            bound.append(history.subjects.get(subject))
            names.append(subject)
        tied += [nodes.setdefault(name, beyond + len(nodes)) for name in names]
        yield [*(ANCHORS[own] for own in bound if own is not None), *tied]


def _seeds(table: Table) -> list[list[str]]:
    """Return of each row the interactions that a model wrote it from; none of a real one."""
    if "seeds" not in table.column_names:
        return [[]] * table.num_rows
    return [own or [] for own in table["seeds"].to_pylist()]


def _joined(ties: Iterable[list[int]], rows: int) -> tuple[DisjointSets[int], list[int | None]]:
    """Return the groups, and a node of each row's; None for a row that would tie two splits."""
    sets = DisjointSets[int]()
    anchors = list(ANCHORS.values())
    roots: list[int | None] = []
    for tied in ties:
        own = {sets.root(node) for node in tied}
        if len(own.intersection(sets.root(anchor) for anchor in anchors)) > 1:
            roots.append(None)
        else:
            roots.append(sets.join(own))
    assert len(roots) == rows
    return sets, roots


def _groups(table: Table, roots: Sequence[int]) -> dict[int, Group]:
    """Return the groups by their roots."""
    topics = table["topic"].to_pylist() if "topic" in table.column_names else [0] * table.num_rows
    rows = zip(
        instants(table).tolist(), table["interaction_id"].to_pylist(), topics,
        is_kind(table, "demonstration").tolist(), roots, strict=True,
    )  # fmt: skip
    members: dict[int, list[tuple[int, str, int, bool]]] = {}
    for instant, interaction, topic, shows, root in rows:
        members.setdefault(root, []).append((instant, interaction, topic, shows))
    return {
        root: Group(
            len(own), min(own)[1], min(own)[2], max(own)[0], any(shows for *_, shows in own)
        )
        for root, own in members.items()
    }


def _order(group: Group, shares: Shares) -> tuple[int, str]:
    digest = hashlib.sha256(group.first.encode()).hexdigest()
    return (-group.newest, digest) if shares.temporal else (0, digest)


def _with_room(size: int, have: Mapping[Split, int], wanted: Mapping[Split, float]) -> Split | None:
    """Return the first split that the group would bring nearer to its target."""
    for split, target in wanted.items():
        if have.get(split, 0) + size / 2 <= target:
            return split
    return None


def _give_empty_splits_one(
    placed: dict[int, Split],
    new: Sequence[int],
    groups: Mapping[int, Group],
    required: Sequence[Split],
) -> None:
    """Move the smallest new group of train, or else of another split with two, to each without."""
    for split in required:
        shown = Counter(own for root, own in placed.items() if groups[root].shows)
        if shown[split]:
            continue
        movable = [root for root in new if groups[root].shows and shown[placed[root]] > 1]
        if movable:
            least = min(movable, key=lambda root: (placed[root] != "train", groups[root].size))
            placed[least] = split


def _filled(placed: Mapping[int, Split], groups: Mapping[int, Group]) -> set[Split]:
    """Return the splits that have demonstrations."""
    return {split for root, split in placed.items() if groups[root].shows}


def _check_filled(
    placed: Mapping[int, Split], groups: Mapping[int, Group], required: Sequence[Split]
) -> None:
    filled = _filled(placed, groups)
    empty = [split for split in required if split not in filled]
    if not empty:
        return
    examples = sum(group.size for group in groups.values())
    raise DataError(
        f"{examples} examples form only {len(groups)} groups that share neither a subject nor "
        f"near-duplicate prompts, and nothing is left for {' and '.join(empty)}: gather ratings "
        f"from at least {len(empty)} more subjects with questions of their own (a long fixed text "
        "belongs in the system message, not in the user's), or set the split's share to 0"
    )
