"""Writes docs/reference/settings.md from the settings in core: names, variables, defaults, reasons.

The reasons are the comments that stand beside the fields, so that there is one place to keep
them true. A unit test compares the page with the code. Run it by `make docs`.
"""

from __future__ import annotations

import ast
import inspect
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from core.sections import Section
from core.settings import Settings

PAGE = Path(__file__).with_name("settings.md")
MIB = 1 << 20
# What the short names of core/sections.py mean to a reader.
KINDS = {
    "Share": "0 to 1",
    "Alpha": "between 0 and 1",
    "Port": "1 to 65535",
    "RedactionMode": "`full`, `redacted` or `metadata_only`",
    "Strategy": "`ddp`, `zero1`, `zero2`, `zero3` or `fsdp`",
    "Starter": "`torchrun` or `accelerate`",
    "SecretStr": "secret",
    "Path": "path",
    "str": "text",
    "str | None": "text",
    "bool | None": "`true` or `false`",
    "bool": "`true` or `false`",
    "int": "whole number",
    "Positive | None": "whole number from 1",
    "SecretStr | None": "secret",
    "Path | None": "path",
    "float": "number",
    "float | None": "number",
    "tuple[str, ...]": "list of texts",
    "tuple[Share, ...]": "list of numbers from 0 to 1",
    "tuple[SecretStr, ...]": "list of secrets",
}
INTRODUCTION = """\
# Settings

<!-- Written by `make docs` from the settings in core. Change those, not this page. -->

A later source wins: the defaults below, then `ratchet.toml` in the working directory (another
file: `RATCHET_SETTINGS=path`), then environment variables. A name that Ratchet does not know,
or a value out of range, stops it at the start with the name, the value and the reason.

```toml
# ratchet.toml
data_dir = "/var/lib/ratchet"

[applications.support]        # who may call the gateway, and with which key
api_key = "change-me-to-a-long-random-text"

[engine]
max_concurrent = 32

[canary]
shares = [0.05, 0.25, 0.50]
```

The same as variables: `RATCHET_DATA_DIR`, `RATCHET_APPLICATIONS__SUPPORT__API_KEY`,
`RATCHET_ENGINE__MAX_CONCURRENT`, `RATCHET_CANARY__SHARES='[0.05, 0.25, 0.5]'`.
Times end in `_s` (seconds) or `_ms`, sizes in `_bytes`. In the last column "guide" is the
fine-tuning guide that the project follows, and "DESIGN" its design document.
"""


@dataclass(frozen=True)
class Entry:
    """One setting as the page shows it."""

    name: str
    kind: str
    default: str
    reason: str


def settings_markdown() -> str:
    """Return the whole page."""
    parts = [INTRODUCTION, _table("General", "", Settings)]
    return "\n".join([*parts, *_sections(Settings, "")])


def _sections(model: type[BaseModel], prefix: str) -> Iterator[str]:
    """Yield the table of each section in `model`, and after it those of the sections in that."""
    for name, field in model.model_fields.items():
        section = _section(field)
        if section is not None:
            path = f"{prefix}{name}.NAME" if get_args(field.annotation) else f"{prefix}{name}"
            yield _table(f"`[{path}]`", f"{path}.", section)
            yield from _sections(section, f"{path}.")


def _table(title: str, prefix: str, model: type[BaseModel]) -> str:
    heading = "" if model is Settings else f"{_first_line(model)}\n\n"
    lines = [
        f"## {title}\n\n{heading}| setting | value | default | why |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| `{prefix}{entry.name}` | {entry.kind} | {entry.default} | {entry.reason} |"
        for entry in _entries(model)
    ]
    return "\n".join(lines) + "\n"


def _entries(model: type[BaseModel]) -> Iterator[Entry]:
    source = inspect.getsource(model)
    comments = _comments(source)
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.AnnAssign) or not isinstance(node.target, ast.Name):
            continue
        field = model.model_fields.get(node.target.id)
        if field is None or _section(field) is not None:
            continue
        yield Entry(
            name=node.target.id,
            kind=_kind(node.annotation, field),
            default=_default(field),
            reason=_cell(comments.get(node.end_lineno or 0, "")),
        )


def _section(field: FieldInfo) -> type[BaseModel] | None:
    """Return the section that this field holds (for a dictionary: each of its values)."""
    for kind in (field.annotation, *get_args(field.annotation)):
        if isinstance(kind, type) and issubclass(kind, Section):
            return kind
    return None


def _kind(annotation: ast.expr, field: FieldInfo) -> str:
    text = ast.unparse(annotation)
    if text.startswith("Literal["):
        return ", ".join(f"`{choice}`" for choice in get_args(field.annotation))
    # a bare annotation's bounds; those of the named kinds are in their names
    bounds = [] if text in {"Share", "Alpha", "Port"} else [_bound(rule) for rule in field.metadata]
    return _cell(" ".join([KINDS.get(text, f"`{text}`"), *(bound for bound in bounds if bound)]))


def _bound(rule: Any) -> str:
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    return " ".join(
        f"{sign} {getattr(rule, name)}" for name, sign in signs.items() if hasattr(rule, name)
    )


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is PydanticUndefined:
        return "(required)"
    if value is None or value == ():
        return "(none)"
    if isinstance(value, SecretStr):
        return "(secret)"
    if isinstance(value, int) and value >= MIB and value % MIB == 0:
        return f"`{value}` ({value // MIB:,} MiB)"
    if isinstance(value, tuple):
        return f"`[{', '.join(map(str, value))}]`"
    return _cell(f"`{value}`")


def _comments(source: str) -> dict[int, str]:
    """Return line number → the comment that ends the line."""
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {
        token.start[0]: token.string.lstrip("# ")
        for token in tokens
        if token.type == tokenize.COMMENT
    }


def _first_line(model: type[BaseModel]) -> str:
    return (inspect.getdoc(model) or "").splitlines()[0]


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


if __name__ == "__main__":
    PAGE.write_text(settings_markdown())
    print(f"wrote {PAGE}")
