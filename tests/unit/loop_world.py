"""A settings file, and a store with two adapters, for tests of the loop and its command line."""

from __future__ import annotations

from pathlib import Path

from core.ids import new_id
from feedback.store import Store
from feedback.tables import Adapter
from tests.ports import free_port
from tests.ready_store import lay_store

SETTINGS = """
data_dir = "{folder}/data"
[applications.desk]
api_key = "a-key-that-is-long-enough"
[engine]
model = "{folder}/model"
port = {engine_port}
[gateway]
port = {gateway_port}
[console]
port = {console_port}
[canary]
shares = [0.5]
check_every_s = 0.05
"""


def write_settings_file(folder: Path) -> Path:
    """Write `ratchet.toml` with the application `desk` and free ports, and lay its store.

    Return the file's path.
    """
    lay_store(f"sqlite:///{folder / 'data' / 'store.db'}")
    file = folder / "ratchet.toml"
    file.write_text(
        SETTINGS.format(
            folder=folder,
            engine_port=free_port(),
            gateway_port=free_port(),
            console_port=free_port(),
        )
    )
    return file


def add_adapters(store: Store) -> None:
    """Add `desk--v1`, which passed the gate, and `desk--v2`, which did not."""
    with store.session() as session:
        for number, gate in ((1, "pass"), (2, "fail")):
            session.add(
                Adapter(
                    name=f"desk--v{number}",
                    application="desk",
                    base_model="base",
                    path=f"/adapters/desk--v{number}",
                    content_hash="0" * 64,
                    run_id=new_id(),
                    dataset_id="desk--d1",
                    rank=16,
                    gate={"decision": gate, "reasons": ["loss is up [by 9 %]"]},
                    created_by="test",
                )
            )
        session.commit()
