"""CURATE: from ratings in the store to a dataset version, stage by stage.

    store → select → redact → validate → conflicts → duplicates → cap → near duplicates
          → split → write (folder and rows)

Each stage takes candidates and returns what it kept, and what it dropped and why; the ledger
counts. Run it by `ratchet curate`. Knows nothing of training.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from datetime import datetime
from pathlib import Path
from typing import Any

import structlog
from tokenizers import Tokenizer

from core.clock import as_utc, utc_now
from core.errors import DataError
from core.files import file_sha256, json_sha256
from core.settings import CurationSettings, Settings
from curation.candidates import Candidate, Selected, Selection, redact_again, select_candidates
from curation.dataset_version import (
    Draft,
    Example,
    Identity,
    example_id,
    read_identities,
    write_dataset,
)
from curation.dedupe import (
    cap_subjects,
    drop_exact_duplicates,
    drop_near_duplicates,
    settle_conflicts,
)
from curation.history import History, read_history, version_number
from curation.ledger import Ledger, Progress
from curation.similarity import Near, find_near
from curation.split import Assigned, Shares, assign_splits, check_no_leak
from curation.validation import TOKENIZER_FILE, fault, load_tokenizer, validate
from feedback.redaction.redactor import Redactor
from feedback.store import Store
from feedback.tables import DatasetVersion

STAGES = (
    "select",
    "redact",
    "validate",
    "conflicts",
    "duplicates",
    "cap",
    "near duplicates",
    "split",
    "write",
)

log = structlog.get_logger()


def build_dataset(
    store: Store,
    settings: Settings,
    application: str,
    *,
    progress: Progress | None = None,
    source: Selection | None = None,
) -> DatasetVersion:
    """Return the newest dataset version of `application`, made of all its ratings so far.

    When nothing has changed since the parent, the parent is returned. `source` narrows the
    interactions to a time; `progress` is told of each stage as it begins.

    Raises: DataError when there are too few examples or subjects, or a file is missing or changed.
    """
    _check_name(application)
    selection = source or Selection()
    tokenizer = load_tokenizer(settings.engine.model)
    redactor = _redactor(settings, application)
    ledger = Ledger(application, STAGES, settings.curation.min_examples, progress)
    with store.session() as session:
        history = read_history(session, application, redactor)
        rated = ledger.run("select", select_candidates, session, application, selection)
    held = set[Identity]() if history.parent is None else read_identities(history.parent)
    assigned = curate(rated, history, tokenizer, settings.curation, ledger, redactor)
    ledger.begin("write")
    examples = _examples(assigned, held)
    if history.parent is not None and {example.identity for example in examples} == held:
        log.info("dataset_unchanged", dataset=history.parent.id)
        return history.parent
    number = 1 if history.parent is None else version_number(history.parent) + 1
    draft = Draft(
        id=f"{application}--d{number}",
        application=application,
        parent=None if history.parent is None else history.parent.id,
        examples=examples,
        facts=_facts(settings, selection, ledger, assigned.kept),
        created_at=utc_now(),
    )
    row = write_dataset(store, settings.folder("datasets"), draft)
    log.info("dataset_written", dataset=row.id, new_rows=row.new_rows, **draft.split_rows)
    return row


def curate(
    rated: Selected,
    history: History,
    tokenizer: Tokenizer,
    rules: CurationSettings,
    ledger: Ledger,
    redactor: Redactor,
) -> Assigned:
    """Return what passes every stage after the selection, each in its split. Reads no store.

    Raises: DataError as `build_dataset`.
    """
    run, threshold, held = ledger.run, rules.near_duplicate_similarity, history.preference
    blamed = [c for c in redact_again(rated.blamed, redactor).kept if fault(c) is None]
    kept = run("redact", redact_again, rated.kept, redactor).kept
    kept = run("validate", validate, kept, tokenizer, rules.max_tokens).kept
    kept = run("conflicts", settle_conflicts, kept, blamed).kept
    kept = run("duplicates", drop_exact_duplicates, kept, held).kept
    kept = run("cap", cap_subjects, kept, rules.max_share_per_subject, held).kept
    near = _near_prompts(kept, history, threshold)
    kept = run("near duplicates", drop_near_duplicates, kept, near, threshold, held).kept
    shares = Shares(rules.validation_share, rules.test_share)
    assigned = run("split", assign_splits, kept, near, history, shares)
    check_no_leak(assigned.kept, assigned.splits, near, history)
    return assigned


def _check_name(application: str) -> None:
    if not application or Path(application).name != application:
        raise DataError(
            f"application {application!r} cannot name a folder: use letters, digits, - and _"
        )


def _redactor(settings: Settings, application: str) -> Redactor:
    """Return the rules of the application; ours alone for one that the settings do not know."""
    known = settings.applications.get(application)
    return Redactor(known.redaction_patterns if known else None)


def _near_prompts(kept: Sequence[Candidate], history: History, threshold: float) -> Near:
    """Compare the candidates' prompts with each other and with all that ever were in a version."""
    texts = {candidate.prompt_key: candidate.prompt_text for candidate in kept}
    return find_near({**history.prompt_texts, **texts}, threshold)


def _examples(assigned: Assigned, held: Set[Identity]) -> list[Example]:
    """Return the examples in the order of their ids: by hash, hence without an order of time."""
    known = {identity.example_id for identity in held}
    examples: list[Example] = []
    for candidate in assigned.kept:
        id_ = example_id(candidate)
        split = assigned.splits[candidate.interaction_id]
        examples.append(Example(id_, candidate, split, is_new=id_ not in known))
    return sorted(examples, key=lambda example: example.id)


def _facts(
    settings: Settings, selection: Selection, ledger: Ledger, kept: Sequence[Candidate]
) -> dict[str, Any]:
    """Return what the manifest says besides the version's own columns."""
    rules = {
        "curation": settings.curation.model_dump(),
        "selection": {
            "since": _iso(selection.since),
            "until": _iso(selection.until),
        },
        "tokenizer": file_sha256(settings.engine.model / TOKENIZER_FILE),
    }
    return {
        "settings": rules,
        "settings_hash": json_sha256(rules),
        "stages": ledger.entries,
        "lineage": {
            "interactions": len(kept),
            "subjects": len({candidate.subject for candidate in kept} - {None}),
            "without_subject": sum(candidate.subject is None for candidate in kept),
            "sources": dict(Counter(candidate.source for candidate in kept)),
            "oldest": _iso(min(candidate.started_at for candidate in kept)),
            "newest": _iso(max(candidate.started_at for candidate in kept)),
        },
    }


def _iso(instant: datetime | None) -> str | None:
    return None if instant is None else as_utc(instant).isoformat()
