"""CURATE: the card of a dataset version, as people read it and as Hugging Face's tools do.

A manifest comes in, Markdown with YAML front matter goes out; with it
`datasets.load_dataset(folder)` finds the three splits. Pure.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from curation.coverage_page import coverage_markdown
from curation.dataset_files import FOLDERS, KINDS, example_files
from curation.history import SPLITS

# Bounds and names of Hugging Face's `size_categories`. Source: Hub documentation, dataset cards.
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))

RUBRIC_CHARS = 12  # of a hash: enough to tell rubrics apart. Our choice


def dataset_card(manifest: Mapping[str, Any]) -> str:
    """Return the README.md of the version that `manifest` describes."""
    coverage = manifest.get("coverage")
    parts = [_front_matter(manifest), _summary(manifest), _splits(manifest), _stages(manifest)]
    parts += [coverage_markdown(coverage)] if coverage else []
    return "\n".join((*parts, _LIMITS))


def _front_matter(manifest: Mapping[str, Any]) -> str:
    kinds = _kinds(manifest)
    configs = "\n".join(_config(kind, kinds[kind]) for kind in KINDS if kind in kinds)
    return f"""---
pretty_name: {json.dumps(manifest["id"])}
task_categories:
- text-generation
size_categories:
- {_size(sum(manifest["splits"].values()))}
tags:
- user-feedback
- supervised-fine-tuning
configs:
{configs}
---"""


def _config(kind: str, counts: Mapping[str, int]) -> str:
    """Return where Hugging Face's tools find the examples of one kind; they take no empty file."""
    files = [
        f"  - split: {file.stem}\n    path: {file.as_posix()}"
        for own, split, file in example_files([kind])
        if own == kind and counts.get(split)
    ]
    name = FOLDERS[kind] or "default"
    return "\n".join([f"- config_name: {name}", "  data_files:", *files])


def _kinds(manifest: Mapping[str, Any]) -> Mapping[str, Mapping[str, int]]:
    return manifest.get("kinds") or {"demonstration": manifest["splits"]}


def _summary(manifest: Mapping[str, Any]) -> str:
    lineage = manifest["lineage"]
    sources = ", ".join(f"{count} {name}" for name, count in lineage["sources"].items())
    return f"""
# {manifest["id"]}

Conversations of the application `{manifest["application"]}`, each ending in an answer that its
users approved or wrote themselves (`correction`){_besides(manifest)}.

| | |
| --- | --- |
| Parent | {manifest["parent"] or "none: the first version"} |
| Created | {manifest["created_at"]} |
| Content hash | `{manifest["content_hash"]}` |
| Settings hash | `{manifest["settings_hash"]}` |
| Interactions from | {lineage["oldest"]} to {lineage["newest"]} |
| Subjects | {lineage["subjects"]} (and {lineage["without_subject"]} examples without one) |
| Sources | {sources} |{_deciders(lineage)}
| New since the parent | {manifest["new_rows"]} |
"""


def _besides(manifest: Mapping[str, Any]) -> str:
    """Return what a version holds besides demonstrations, in words."""
    told = {
        "pair": "pairs of a better and a worse answer (`pairs`)",
        "label": "answers with a thumb, up or down (`labels`)",
        "safety": "what people flagged, for tests alone (`safety`)",
    }
    parts = [words for kind, words in told.items() if kind in _kinds(manifest)]
    return "".join(f"; {words}" for words in parts)


def _deciders(lineage: Mapping[str, Any]) -> str:
    """Return the row that tells who decided the pairs; none of a version without them."""
    told = deciders(lineage.get("preferences"))
    return f"\n| Pairs decided by | {told} |" if told else ""


def deciders(preferences: Mapping[str, Any] | None) -> str:
    """Return in words who decided a version's pairs, and how far people agree with a judge."""
    if not preferences or not (preferences["people"] or preferences["judge"]):
        return ""
    judges = [
        f"{own['pairs']} {own['judge']} (AI judge, rubric {own['rubric'][:RUBRIC_CHARS]}; "
        f"{_agreement(own['agreement'])})"
        for own in preferences["judges"]
    ]
    return ", ".join([f"{preferences['people']} people", *judges])


def _agreement(agreement: Mapping[str, Any]) -> str:
    if not agreement["compared"]:
        return "never held against people"
    kappa = agreement["kappa"]
    beyond = "" if kappa is None else f", kappa {kappa:.2f}"
    return f"agrees with people on {agreement['share']:.0%} of {agreement['compared']}{beyond}"


def _splits(manifest: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {kind} | " + " | ".join(str(counts.get(split, "")) for split in SPLITS) + " |"
        for kind, counts in _kinds(manifest).items()
        if kind != "safety"
    )
    return f"""## Splits

No subject, and no prompt or near duplicate of a prompt, is in two splits; what a version held in
one split never moves to another in a later version.

| Examples | train | validation | test |
| --- | ---: | ---: | ---: |
{rows}

Columns: `example_id`, `interaction_id`, `subject` (a keyed hash), `source`, `is_new` (the parent
did not have it), `weight` (inverse exposure of the adapter that answered, 1 on average), and
`messages` (a list of `role` and `content`), or of pairs `prompt`, `chosen`, `rejected` (and, where
the source is `judge`, the model and the hash of its `rubric`), of labels `prompt`, `completion`,
`label`. `messages/` has the demonstrations as JSON Lines.
"""


def _stages(manifest: Mapping[str, Any]) -> str:
    rows = "\n".join(
        f"| {stage['name']} | {stage['before']} | {stage['after']} | {_reasons(stage)} |"
        for stage in manifest["stages"]
    )
    return f"""## How it was made

| Stage | Before | After | Dropped or changed |
| --- | ---: | ---: | --- |
{rows}

`manifest.json` holds the settings and samples of what was dropped.
"""


def _reasons(stage: Mapping[str, Any]) -> str:
    notes = [f"{count} {reason}" for reason, count in stage["dropped"].items()]
    notes += [f"{stage[what]} {what}" for what in ("changed", "added") if stage.get(what)]
    return ", ".join(notes)


def _size(examples: int) -> str:
    return next((name for bound, name in _SIZES if examples < bound), "n>1M")


_LIMITS = """## Limits

- Users judged these answers; only those were reviewed that the stage `review` or the source
  `reviewer` tells of.
- Where several answers to one prompt were given, corrections beat approvals and the answer of
  more people won, and what more people blamed than approved is out; one person's mistake about a
  prompt that nobody else asked remains.
- Redaction finds e-mail addresses, phone and card numbers, IBANs, IP addresses and secrets by
  their form. Names and street addresses stay.
- Near duplicates are found by their characters: paraphrases may be in two splits.
"""
