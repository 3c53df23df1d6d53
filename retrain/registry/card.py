"""The model card that lies in every adapter's folder: who made it of what, and how good it is.

Plain facts go in, Markdown comes out. Source of the sections: fine-tuning guide,
"Documentation and Knowledge Management". Knows nothing of tables or files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def render_card(metadata: Mapping[str, Any], gate: Mapping[str, Any], content_hash: str) -> str:
    """Return the card of the adapter that `metadata` (see `retrain.registry.record`) describes."""
    sections = (
        _header(metadata),
        _details(metadata, content_hash),
        _override(metadata),
        _intended_use(metadata),
        _performance(metadata),
        _evaluation(gate),
        _limitations(metadata, gate),
        _ethics(),
        _training_recipe(metadata),
    )
    texts = [list(section) for section in sections]
    return "\n".join(line for section in texts if section for line in (*section, ""))


def _header(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield "---"
    yield f"base_model: {metadata['base_model']}"
    yield "library_name: peft"
    yield "pipeline_tag: text-generation"
    yield "---"
    yield f"# {metadata['model_id']}"


def _details(metadata: Mapping[str, Any], content_hash: str) -> Iterator[str]:
    data, run = metadata["training_data"], metadata["run"]
    yield "## Model details"
    yield f"- Base model: {metadata['base_model']}"
    yield f"- Fine-tuning method: {_method(metadata['hyperparameters'])}"
    yield f"- Mode: {run['mode']}, continuing {run['continues'] or 'nothing: from the base model'}"
    yield f"- Training data: {data['version']}, {data['size']} examples, hash {data['hash']}"
    if pairs := data.get("pairs"):
        yield f"- Pairs of that version: {_deciders(pairs)}"
    yield f"- Created at: {metadata['created_at']} by {metadata['trained_by']}"
    yield f"- Reason: {run['reason']}"
    yield f"- Status: {metadata['production_status']}"
    yield f"- Content hash (all files but this one and the manifest): {content_hash}"
    yield "- `manifest.json` signs these files with what they were made of"


def _deciders(pairs: Mapping[str, Any]) -> str:
    judges = f" ({', '.join(pairs['judges'])})" if pairs["judges"] else ""
    learnt = {"also": "both learnt", "only": "the judge's alone learnt", "no": "people's learnt"}
    return (
        f"{pairs['people']} decided by people, {pairs['judge']} by an AI judge{judges}; "
        f"{learnt[pairs['ai_pairs']]}"
    )


def _method(hyperparameters: Mapping[str, Any]) -> str:
    if not hyperparameters:
        return "unknown: it was not trained here"
    trainer, method = hyperparameters["trainer"].upper(), hyperparameters.get("method", "lora")
    name = {"lora": "LoRA", "qlora": "QLoRA", "dora": "DoRA", "full": "full fine-tuning"}
    rank = hyperparameters.get("rank")
    return f"{trainer}, {name.get(method, method)}" + (f" (r={rank})" if rank else "")


def _override(metadata: Mapping[str, Any]) -> Iterator[str]:
    override = metadata.get("gate_override")
    if override:
        yield "## Gate override"
        yield (
            f"**It did not pass the gate.** {override['by']} let it past on {override['at']}: "
            f"{override['reason']}"
        )


def _intended_use(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield "## Intended use"
    yield f"- Answering the requests of the application `{metadata['application']}`"
    yield "- As an adapter on the base model above, with its chat template; on no other"
    yield "- Not for other applications: it learnt from this one's users"


def _performance(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield "## Performance"
    for name, value in metadata["metrics"].items():
        yield f"- {name}: {_number(value)}"


def _evaluation(gate: Mapping[str, Any]) -> Iterator[str]:
    yield "## Evaluation"
    yield f"Gate: **{gate['decision']}**, compared with {gate.get('compared_with', 'nothing')}."
    yield ""
    for reason in gate["reasons"]:
        yield f"- {reason}"
    for name, numbers in gate.get("numbers", {}).items():
        candidate, live = numbers["candidate"], numbers["live"]
        yield ""
        yield f"| {name} | this adapter | compared with |"
        yield "|---|---|---|"
        for metric in candidate:
            yield f"| {metric} | {_number(candidate[metric])} | {_number(live[metric])} |"


def _limitations(metadata: Mapping[str, Any], gate: Mapping[str, Any]) -> Iterator[str]:
    numbers = gate.get("numbers", {}).values()
    examples = sum(each["candidate"]["examples"] for each in numbers)
    yield "## Limitations"
    yield "- Learnt from rated and corrected answers: it shares the raters' views and mistakes"
    yield f"- Compared offline on {examples} held-out examples only; the canary has the last word"
    yield "- May state facts that were true when the data were collected and are no longer"
    yield "- Task score is word overlap with one reference, which a good answer may not share"


def _ethics() -> Iterator[str]:
    yield "## Ethical considerations"
    yield "- Personal data was redacted before it was stored; a person's erasure marks what learnt"
    yield "  from them as tainted, and this card's registry says so"
    yield "- Ratings are those of the people who rate: groups that rarely do are heard less"


def _training_recipe(metadata: Mapping[str, Any]) -> Iterator[str]:
    yield "## Training recipe"
    yield f"Recipe `{metadata['run']['recipe']}`, run `{metadata['run']['id']}`."
    yield ""
    yield "| Setting | Value |"
    yield "|---|---|"
    for name, value in metadata["hyperparameters"].items():
        yield f"| {name} | {_setting(value)} |"


def _setting(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
