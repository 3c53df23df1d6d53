"""The settings file that `ratchet init` writes: one application with a fresh API key.

Reads no settings: it works where they are absent, and leaves alone those that are there.
"""

from __future__ import annotations

import os
import re
import secrets
from pathlib import Path

from core.errors import RequestError, SettingsError
from core.settings import DEFAULT_FILE
from serving.hardware import BASE_MODEL_NAME

# Names folders, adapters (`name--vN`) and the `model` of a request, see retrain.registry.ledger.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def write_first_settings(file: Path | None, application: str) -> tuple[Path, bool]:
    """Return the settings file and whether it was written now; one that exists stays as it is.

    Raises: RequestError for a name that cannot be an application's; SettingsError when the
    file cannot be made.
    """
    if not _NAME.fullmatch(application) or "--" in application or application == BASE_MODEL_NAME:
        raise RequestError(
            f"{application!r} cannot name an application: use letters, digits, '.', '_' and '-', "
            f"no '--' (it names adapters) and not {BASE_MODEL_NAME!r} (the base model)",
            field="application",
        )
    path = file or DEFAULT_FILE
    key = f"rk-{secrets.token_urlsafe(24)}"
    try:
        # for its owner alone from the first byte on, and never over another file
        opened = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path, False
    except OSError as error:
        raise SettingsError(f"cannot write {path.absolute()}: {error.strerror}") from error
    with os.fdopen(opened, "w") as output:
        output.write(f'[applications."{application}"]\napi_key = "{key}"\n')
    return path, True
