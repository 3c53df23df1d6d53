"""The registry of adapters: names, statuses, hashes, and who let one past the gate.

RETRAIN → CANARY: a trained folder goes in, an `Adapter` row comes out that the loop may start
a rollout with. Names and paths `application--vN` are never reused, since vLLM keys its caches
by both. All functions work in the caller's session; the caller commits.

    candidate ─gate─→ gated → canary → live → retired
        └──override──────────↗   └→ rolled_back | inconclusive
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sqlmodel import Session, col, select

from core.clock import utc_now
from core.errors import (
    AdapterRefused,
    DataError,
    GateError,
    NotFoundError,
    RequestError,
    StateError,
)
from core.files import folder_sha256, write_atomic
from feedback.tables import Adapter
from retrain.registry import manifest
from retrain.registry.card import render_card

CARD_FILE = "README.md"
# The card and the manifest name the hashes of all other files.
UNHASHED = frozenset({CARD_FILE, manifest.FILE})

_APPLICATION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# From each status to those that may follow. A rollback brings a retired adapter back to live;
# what failed or was inconclusive may be tried again in a new rollout.
TRANSITIONS: dict[str, frozenset[str]] = {
    "candidate": frozenset({"gated", "canary", "retired"}),
    "gated": frozenset({"canary", "retired"}),
    "canary": frozenset({"live", "rolled_back", "inconclusive"}),
    "live": frozenset({"retired", "rolled_back", "inconclusive"}),
    "retired": frozenset({"canary", "live"}),
    "rolled_back": frozenset({"canary", "retired"}),
    "inconclusive": frozenset({"canary", "retired"}),
}
_NEEDS_GATE = frozenset({"canary", "live"})
_UNTRIED = frozenset({"candidate", "gated"})


def find(session: Session, name: str) -> Adapter:
    """Return the adapter called `name`.

    Raises: NotFoundError.
    """
    adapter = session.get(Adapter, name)
    if adapter is None:
        raise NotFoundError(f"no adapter {name!r}: `ratchet adapter list` lists them")
    return adapter


def standing(adapter: Adapter) -> str:
    """Return the status as people read it; a tainted adapter is said to be one."""
    return f"{adapter.status}, tainted" if adapter.tainted_at is not None else adapter.status


def list_adapters(session: Session, application: str) -> list[Adapter]:
    """Return the application's adapters, newest first."""
    rows = session.exec(select(Adapter).where(col(Adapter.application) == application))
    return sorted(rows, key=lambda row: _version(row.name, application), reverse=True)


def reserve_folder(session: Session, application: str, adapters: Path) -> Path:
    """Make and return the folder `application--vN` that no adapter has ever had.

    N is one more than the highest of all rows and folders; a name is taken by making its
    folder, so that two runs at once get two names.

    Raises: RequestError if the application's name cannot be a folder's.
    """
    if not _APPLICATION.fullmatch(application):
        raise RequestError(
            f"application {application!r} cannot name adapters: use letters, digits, '.', '_', '-'",
            field="application",
        )
    names = [row.name for row in list_adapters(session, application)]
    names += [path.name for path in adapters.iterdir()]
    version = max((_version(name, application) for name in names), default=0) + 1
    while True:
        folder = adapters / f"{application}--v{version}"
        try:
            folder.mkdir()
        except FileExistsError:
            version += 1
        else:
            return folder


def register(session: Session, adapter: Adapter) -> Adapter:
    """Add the row of a folder that is complete.

    Raises: StateError if the name was used before; DataError if the folder is not what the
    row says.
    """
    if session.get(Adapter, adapter.name) is not None:
        raise StateError(f"adapter {adapter.name} exists already: names are never reused")
    verify(adapter)
    session.add(adapter)
    return adapter


def set_status(session: Session, name: str, status: str) -> Adapter:
    """Move the adapter to `status`; to the one it has changes nothing.

    Raises: NotFoundError, StateError for a move that is not allowed, GateError for one
    towards traffic without a passed gate or an override.
    """
    adapter = find(session, name)
    if adapter.status == status:
        return adapter
    allowed = TRANSITIONS.get(adapter.status, frozenset[str]())
    if status not in allowed:
        raise StateError(
            f"adapter {name} is {adapter.status} and cannot become {status!r}; "
            f"it can become {', '.join(sorted(allowed))}"
        )
    if status in _NEEDS_GATE:
        require_gate_or_override(adapter)
    adapter.status = status
    adapter.model_metadata = adapter.model_metadata | {"production_status": status}
    _renew_card(adapter)
    session.add(adapter)
    return adapter


def verify(adapter: Adapter) -> None:
    """Hash the adapter's files again and return if they are still the registered ones.

    Raises: DataError.
    """
    folder = Path(adapter.path)
    if not folder.is_dir():
        raise DataError(f"adapter {adapter.name}: {folder} is missing, restore it from a backup")
    found = folder_sha256(folder, ignore=UNHASHED)
    if found != adapter.content_hash:
        raise DataError(
            f"adapter {adapter.name}: the files in {folder} have changed (hash {found[:12]}, "
            f"registered {adapter.content_hash[:12]}): restore them from a backup or train anew"
        )


def require_servable(adapter: Adapter) -> None:
    """Return if an engine can load the adapter while it serves.

    Raises: AdapterRefused that says how it can be served otherwise.
    """
    if not adapter.servable:
        known = adapter.model_metadata.get("not_servable_because") or [
            "vLLM does not hot-load it: `ratchet merge` may make a base model of it"
        ]
        raise AdapterRefused(
            f"adapter {adapter.name} (method {adapter.method}) cannot take traffic: "
            f"{'; '.join(known)}"
        )


def require_gate_or_override(adapter: Adapter) -> None:
    """Return if the adapter may ask for traffic.

    Raises: AdapterRefused when no engine could load it; GateError as `require_gate`.
    """
    require_servable(adapter)
    require_gate(adapter)


def require_gate(adapter: Adapter) -> None:
    """Return if the adapter passed the gate, or an operator let it past.

    Raises: GateError that tells why it failed the gate and how an operator can override.
    """
    if adapter.gate.get("decision") == "pass" or (adapter.override_by and adapter.override_reason):
        return
    reasons = "; ".join(adapter.gate.get("reasons", [])) or "it was never evaluated"
    raise GateError(
        f"adapter {adapter.name} has not passed the gate ({reasons}): train a better one, "
        "or let an operator override the gate with a name and a reason"
    )


def record_override(session: Session, name: str, *, operator: str, reason: str) -> Adapter:
    """Note on the adapter who lets it past the gate, and why.

    Raises: NotFoundError; RequestError without a name or a reason.
    """
    for field, value in (("operator", operator), ("reason", reason)):
        if not value.strip():
            raise RequestError(f"an override needs a {field}: {value!r} is empty", field=field)
    adapter = find(session, name)
    adapter.override_by, adapter.override_reason = operator.strip(), reason.strip()
    adapter.model_metadata = adapter.model_metadata | {
        "gate_override": {
            "by": adapter.override_by,
            "reason": adapter.override_reason,
            "at": utc_now().isoformat(timespec="seconds"),
        }
    }
    _renew_card(adapter)
    session.add(adapter)
    return adapter


def renew_gate(session: Session, name: str, gate: Mapping[str, Any]) -> Adapter:
    """Note what the gate said of the adapter when it was asked again.

    One that waits for traffic has the new verdict, and its earlier ones are kept; of one that had
    traffic the verdict stays, since users have spoken, and the new numbers are kept as `latest`.

    Raises: NotFoundError.
    """
    adapter = find(session, name)
    if adapter.status in _UNTRIED:
        before = {key: value for key, value in adapter.gate.items() if key != "earlier"}
        adapter.gate = {**gate, "earlier": [*adapter.gate.get("earlier", []), before]}
        adapter.status = "gated" if gate["decision"] == "pass" else "candidate"
        adapter.model_metadata = adapter.model_metadata | {"production_status": adapter.status}
    else:
        adapter.gate = adapter.gate | {"latest": dict(gate)}
    _renew_card(adapter)
    session.add(adapter)
    return adapter


def write_card(adapter: Adapter) -> None:
    """Write the card, which is not hashed, into the adapter's folder."""
    card = render_card(adapter.model_metadata, adapter.gate, adapter.content_hash)
    write_atomic(Path(adapter.path) / CARD_FILE, card)


def _renew_card(adapter: Adapter) -> None:
    """Let the card tell the new status or override, where there is one.

    Where none is (the folder is gone, say) nothing is refused: a rollback must not wait for it,
    and `ratchet adapter verify` tells of it.
    """
    if (Path(adapter.path) / CARD_FILE).is_file():
        write_card(adapter)


def _version(name: str, application: str) -> int:
    """Return N of `application--vN`, or 0 for any other name."""
    found = re.fullmatch(rf"{re.escape(application)}--v(\d+)", name)
    return int(found.group(1)) if found else 0
