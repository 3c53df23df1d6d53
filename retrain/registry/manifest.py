"""The signed manifest in an adapter's folder: of which data, code and settings it was made.

Facts and a folder go in, `manifest.json` comes out; later the folder again, and what is wrong with
it. Anyone who has the folder and the public key can check it without this installation's store.
Knows no tables.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Collection
from pathlib import Path
from typing import Any

import msgspec

import core
import retrain
from core.errors import DataError
from core.files import file_sha256, json_sha256, sources_sha256, write_atomic
from retrain.registry.signing import Signer, is_signed

FILE = "manifest.json"
SCHEMA = 1
# What decides the numbers that training makes.
LIBRARIES = ("torch", "transformers", "trl", "peft", "accelerate", "datasets")


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """Where an adapter comes from: ids, each with the hash of what it named then."""

    base_model: str
    method: str
    dataset: str
    dataset_hash: str
    run: str
    recipe: str
    recipe_hash: str
    settings_hash: str
    parent: str | None
    gate: str  # its decision when the adapter was registered
    created_at: str
    created_by: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What is signed."""

    schema: int = SCHEMA
    adapter: str
    application: str
    made: Made
    code: dict[str, str]  # hash of Ratchet's own sources, versions of the libraries
    files: dict[str, str]  # SHA-256 by path below the folder; all but this file and the card

    def as_bytes(self) -> bytes:
        """Return the bytes that are signed: equal manifests have equal ones."""
        return msgspec.json.encode(self, order="deterministic")


class Signed(msgspec.Struct, frozen=True):
    """A manifest with who signed it."""

    manifest: Manifest
    public_key: str
    signature: str

    def as_dict(self) -> dict[str, Any]:
        """Return plain values for a JSON column."""
        return msgspec.to_builtins(self)


def sign_folder(
    folder: Path, manifest: Manifest, signer: Signer, *, ignore: Collection[str]
) -> Signed:
    """Write the manifest of a folder that is complete, with the hashes of its files, and return it.

    `ignore` names files that are not hashed: the manifest itself, and the card that tells of it.
    """
    whole = msgspec.structs.replace(manifest, files=file_hashes(folder, ignore))
    signed = Signed(whole, signer.public, signer.sign(whole.as_bytes()))
    write_atomic(folder / FILE, msgspec.json.format(msgspec.json.encode(signed)))
    return signed


def read_manifest(folder: Path) -> Signed | None:
    """Return the manifest in a folder, or None where there is none.

    Raises: DataError for a file that is no manifest.
    """
    path = folder / FILE
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(path.read_bytes(), type=Signed)
    except msgspec.DecodeError as error:
        raise DataError(f"{path} is no manifest ({error}): restore it from a backup") from error


def faults(
    folder: Path, signed: Signed, trusted: Collection[str], *, ignore: Collection[str]
) -> list[str]:
    """Return what is wrong with files or signature, one sentence each; none: all is well."""
    found = [f"it is signed by {signed.public_key}, which registry.trusted_keys does not name"]
    if signed.public_key in trusted:
        found = []
    if not is_signed(signed.manifest.as_bytes(), signed.signature, signed.public_key):
        found.append("its signature does not fit: the manifest was changed after it was signed")
    there, listed = file_hashes(folder, ignore), signed.manifest.files
    found += [f"{name} is missing" for name in sorted(listed.keys() - there.keys())]
    found += [f"{name} is not in the manifest" for name in sorted(there.keys() - listed.keys())]
    common = sorted(there.keys() & listed.keys())
    return found + [f"{name} was changed" for name in common if there[name] != listed[name]]


def file_hashes(folder: Path, ignore: Collection[str]) -> dict[str, str]:
    """Return the SHA-256 of each file below `folder`, by its path there."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in ignore)
    return {path.relative_to(folder).as_posix(): file_sha256(path) for path in files}


def code_facts() -> dict[str, str]:
    """Return what identifies the code that trains: our sources' hash, libraries' versions."""
    ours = [sources_sha256(Path(str(package.__file__)).parent) for package in (core, retrain)]
    versions = {name: _version(name) for name in LIBRARIES}
    return {"ratchet": json_sha256(ours), **versions}


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed here"
