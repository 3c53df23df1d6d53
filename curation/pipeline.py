"""CURATE: from people's signals in the store to a dataset version, stage by stage.

    store → gather → row stages, shard by shard, in parallel (`steps`)
          → conflicts → labels → preferences → duplicates → near duplicates → meaning → votes
          → cap → balance → written → split → publish (folder and rows)

Row stages see texts, a shard at a time; the stages after them compare all candidates by the keys
that the row stages left, and read single texts back where they must. Each says what it dropped and
why; the ledger counts. Run it by `ratchet curate`. Knows nothing of training.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from core.curation_settings import CurationSettings
from core.errors import DataError
from core.files import json_sha256
from core.settings import Settings
from curation.augmentation.cap import cap
from curation.build import Build, span
from curation.chain import Account, Chain, merged
from curation.columns import Codes
from curation.dataset_version import verify_dataset
from curation.dedupe import (
    cap_subjects,
    drop_exact_duplicates,
    drop_near_duplicates,
    require_votes,
    settle_conflicts,
    settle_labels,
    settle_preferences,
)
from curation.draw import drawn
from curation.embedding import TransformerEmbedder
from curation.engine import Engine, LocalEngine
from curation.gathering import gather
from curation.history import SAFETY, read_history
from curation.keyed import Keyed
from curation.keys import prompt_text
from curation.ledger import Ledger, Progress, demonstrations_in
from curation.minhash import common_hashes
from curation.near import Near, near_prompts
from curation.publication import publish
from curation.review.desk import ReviewDesk
from curation.selection import Selection
from curation.shards import read_shard, shard_paths
from curation.similarity import COMMON_SAMPLE
from curation.split import Prompts, Shares, assign_splits, check_no_leak
from curation.stages.balance import balance
from curation.stages.semantic import drop_alike, semantic_keys
from curation.stages.topics import fit_topics, sample_prompts
from curation.stages.verdicts import Verdict
from curation.steps import STAGES, Learnt, row_steps
from curation.table import Outcome, Table, conversations, pc, roles, with_column
from curation.work import code_hash, forget_work, only_build, store_mark, work_folder
from feedback.store import Store
from feedback.tables import DatasetVersion

EVERYTHING = Selection()
# Prompts that are less alike than duplicates, by so much, still go into one split: what many texts
# hold is known from a sample, so the threshold itself is blurred. Our choice
TIE_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class Compared:
    """What passes all stages but the split: rows by their keys, and which prompts are alike."""

    keyed: Keyed
    table: Table
    near: Near
    learnt: Learnt


def build_dataset(
    store: Store,
    settings: Settings,
    application: str,
    *,
    progress: Progress | None = None,
    source: Selection = EVERYTHING,
) -> DatasetVersion:
    """Return the newest dataset version of `application`, made of all its signals so far.

    When nothing has changed since the parent, the parent is returned. `source` narrows the
    interactions to a time; `progress` is told of each stage as it begins. A build that died goes on
    with the shards that it has, as long as the store, the settings and the code are the same.

    Raises: DataError when there are too few examples or subjects, or a file is missing or changed;
        ConflictError while another build of the application is running.
    """
    check_name(application)
    datasets = settings.folder("datasets")
    with only_build(datasets, application):
        build = prepare(store, settings, application, progress, source)
        if build.history.parent is not None:
            verify_dataset(build.history.parent)
        found = compare(store, build)
        row = publish(store, build, found.keyed, split(build, found), found.learnt.topics)
        forget_work(datasets, application)
    return row


def prepare(
    store: Store,
    settings: Settings,
    application: str,
    progress: Progress | None = None,
    source: Selection = EVERYTHING,
) -> Build:
    """Return what a build works with, in the folder of the last one if nothing has changed.

    Raises: DataError when the application cannot name a folder; SettingsError without Ray.
    """
    check_name(application)
    rules = settings.curation
    with store.session() as session:
        history = read_history(session, application)
        parent = history.parent.id if history.parent else None
        read = [span(source), parent, store_mark(session, application)]
    mark = json_sha256([rules.model_dump(), settings.review.required, code_hash(), read])
    return Build(
        settings,
        application,
        source,
        history,
        engine_of(rules),
        work_folder(settings.folder("datasets"), application, mark),
        Ledger(application, STAGES, rules.min_examples, progress),
    )


def check_name(application: str) -> None:
    """Raise DataError when the application cannot name a folder."""
    if not application or Path(application).name != application:
        raise DataError(
            f"application {application!r} cannot name a folder: use letters, digits, - and _"
        )


def engine_of(rules: CurationSettings) -> Engine:
    """Return the engine that the settings name. Raises: SettingsError without Ray."""
    if rules.engine == "local":
        return LocalEngine(rules.workers)
    from curation.ray_engine import RayEngine  # an extra

    return RayEngine()


def compare(store: Store, build: Build) -> Compared:
    """Return what passes all stages but the split.

    Raises: DataError when too few examples or subjects are left.
    """
    keyed, learnt = _go_through(build, gather(store, build), _verdicts(store, build))
    rules, ledger = build.settings.curation, build.ledger
    table = ledger.run("conflicts", settle_conflicts, keyed.candidates)
    table = ledger.run("labels", settle_labels, table)
    table = ledger.run("preferences", settle_preferences, table, rules.preferences)
    table = ledger.run("duplicates", drop_exact_duplicates, table)
    ledger.begin("near duplicates")  # finding them is what takes its time
    near = _near(build, keyed, table, learnt)
    answers, threshold = keyed.answer_texts(table), rules.near_duplicate_similarity
    close = near.at_least(threshold)
    table = ledger.run(
        "near duplicates", drop_near_duplicates, table, close, _numbers(table), answers, threshold
    )
    table = ledger.run("meaning", _drop_alike, table, keyed, rules)
    table = ledger.run("votes", require_votes, table, near, _numbers(table), rules.debias.min_votes)
    table = ledger.run("cap", cap_subjects, table, rules.max_share_per_subject)
    table = ledger.run("balance", balance, table, rules.balance)
    table = ledger.run("written", cap, table, build.settings.augmentation.max_share)
    return Compared(keyed, table, near, learnt)


def split(build: Build, found: Compared) -> Table:
    """Return the rows that belong to one split, with the column `split`; safety tests are in none.

    Raises: DataError when a split stays empty, or two would leak into each other.
    """
    build.ledger.begin("split")
    rules, table, near, bound = (
        build.settings.curation, found.table, found.near, found.keyed.bound,
    )  # fmt: skip
    shares = Shares(rules.validation_share, rules.test_share, rules.temporal_split)
    is_safety = pc.equal(table["kind"], "safety")
    learnt, safety = table.filter(pc.invert(is_safety)), table.filter(is_safety)
    prompts = Prompts(_numbers(learnt), near, bound)
    assigned = assign_splits(learnt, prompts, build.history, shares)
    kept = assigned.outcome.kept
    account = Account("split")
    account.add(table.num_rows, assigned.outcome)
    build.ledger.enter([account])
    build.ledger.require(demonstrations_in(kept))
    check_no_leak(kept, assigned.splits, Prompts(_numbers(kept), near, bound), build.history)
    splits = [*assigned.splits, *([SAFETY] * safety.num_rows)]
    return with_column(pa.concat_tables([kept, safety]), "split", splits, pa.string())


def _verdicts(store: Store, build: Build) -> dict[str, Verdict]:
    """Return what reviewers said, by candidate."""
    outcomes = ReviewDesk(store, build.settings).outcomes(build.application)
    return {id_: Verdict(own.says != "rejected", own.text) for id_, own in outcomes.items()}


def _go_through(
    build: Build, gathered: Sequence[Path], verdicts: dict[str, Verdict]
) -> tuple[Keyed, Learnt]:
    """Run the row stages over all shards; return the rows by their keys, and what was learnt."""
    learnt = _learn(build, gathered)
    steps = row_steps(build.settings, build.application, learnt, verdicts)
    names = [step.name for step in steps if step.is_told]
    build.ledger.begin(names[0])

    def done(finished: int, shards: int) -> None:
        for name in names[: 1 + finished * (len(names) - 1) // shards]:
            build.ledger.begin(name)

    folder = build.folder / "rows"
    reports = build.engine.map(Chain(tuple(steps)), gathered, folder, done)
    build.ledger.enter(merged(reports))
    keyed = Keyed(shard_paths(folder), build.history)
    build.ledger.require(demonstrations_in(keyed.table))
    return keyed, learnt


def _learn(build: Build, gathered: Sequence[Path]) -> Learnt:
    """Return what samples of the candidates, drawn by hash, tell of all."""
    asked: list[Table] = []
    templates: list[Table] = []
    for path in gathered:
        shard = read_shard(path, ["candidate_id", "subject", "messages", "rejected"])
        asked = [sample_prompts(pa.concat_tables([*asked, sample_prompts(shard)]))]
        own = drawn(shard, COMMON_SAMPLE, "template")
        templates = [drawn(pa.concat_tables([*templates, own]), COMMON_SAMPLE, "template")]
    prompts = map(prompt_text, roles(templates[0]), conversations(templates[0]))
    topics = fit_topics(asked[0], build.settings.curation.balance.topics)
    return Learnt(common_hashes(list(prompts)), topics)


def _near(build: Build, keyed: Keyed, table: Table, learnt: Learnt) -> Near:
    """Return which prompts, of the rows and of earlier versions, are near duplicates."""
    numbers = keyed.prompts_of(table)
    pairs = np.array(numbers, np.int64)[build.engine.colliding(keyed.bands(numbers))]
    threshold = build.settings.curation.near_duplicate_similarity - TIE_MARGIN
    return near_prompts(pairs.reshape(-1, 2), keyed.prompt_texts, learnt.common, threshold)


def _drop_alike(table: Table, keyed: Keyed, rules: CurationSettings) -> Outcome:
    """Return the rows without those that repeat another in other words; all where that is off."""
    if rules.semantic.model is None:
        return Outcome(table, drop_alike(table, rules.semantic).drops)
    embedder = TransformerEmbedder(rules.semantic.model)
    parts = [semantic_keys(part, embedder) for part in keyed.wholes(table)]
    outcome = drop_alike(pa.concat_tables(parts), rules.semantic)
    stays = pc.is_in(table["candidate_id"], value_set=outcome.kept["candidate_id"].combine_chunks())
    return Outcome(table.filter(stays), outcome.drops)


def _numbers(table: Table) -> Codes:
    return table["number"].to_numpy()
