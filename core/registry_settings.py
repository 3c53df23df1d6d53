"""The settings of the registry: whose signature is believed, and who else is told of adapters."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from pydantic import field_validator

from core.sections import Section

PUBLIC_KEY_BYTES = 32  # of Ed25519


class RegistrySettings(Section):
    """How adapters are signed, and where else they are listed."""

    signing_key: Path | None = None  # Ed25519, 32 bytes; default: a file in data_dir, made once
    # public keys of other installations whose adapters may be taken in, as `ratchet adapter key`
    # prints them; one's own is always believed
    trusted_keys: tuple[str, ...] = ()
    mlflow_uri: str | None = None  # an MLflow tracking server or sqlite:///… to list adapters in

    @field_validator("trusted_keys")
    @classmethod
    def _keys(cls, keys: tuple[str, ...]) -> tuple[str, ...]:
        for text in keys:
            try:
                raw = base64.b64decode(text, validate=True)
            except binascii.Error:
                raw = b""
            if len(raw) != PUBLIC_KEY_BYTES:
                raise ValueError(
                    f"{text!r} is no public key: it is what `ratchet adapter key` prints"
                )
        return keys
