"""TensorBoard's event files, in the run's folder: `tensorboard --logdir .ratchet/runs`.

Numbers go in, protocol buffers in a file come out. Written without torch or TensorFlow. A run
that goes on writes a second file, which begins with the mark that makes TensorBoard forget what it
knew of later steps.
"""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping
from typing import Any

from core.errors import SettingsError
from retrain.watching.trackers.tracker import Subject

FOLDER = "tensorboard"  # in the run's folder


class TensorBoardTracker:
    """Writes event files."""

    name = "tensorboard"

    def __init__(self, subject: Subject) -> None:
        try:
            from tensorboard.compat.proto import event_pb2, summary_pb2
            from tensorboard.summary.writer.event_file_writer import EventFileWriter
        except ImportError as error:
            raise SettingsError(
                "TensorBoard is not installed: `pip install ratchet-llm[train]`"
            ) from error
        self._events: Any = event_pb2
        self._summaries: Any = summary_pb2
        self._writer: Any = EventFileWriter(str(subject.folder / FOLDER), flush_secs=10)
        self._begun = not subject.resumed
        self._tell_settings(subject)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Write the numbers of a step."""
        if not self._begun:
            self._begun = True
            start = self._events.SessionLog(status=self._events.SessionLog.START)
            self._add(step, session_log=start)
        parts = [
            self._summaries.Summary.Value(tag=name, simple_value=value)
            for name, value in values.items()
        ]
        self._add(step, summary=self._summaries.Summary(value=parts))

    def finish(self, *, ok: bool) -> None:
        """Write what is in memory, and close the file."""
        self._writer.close()

    def _tell_settings(self, subject: Subject) -> None:
        """Write the settings as a table, which TensorBoard shows under TEXT."""
        tensors: Any = importlib.import_module("tensorboard.compat.proto.tensor_pb2")
        types: Any = importlib.import_module("tensorboard.compat.proto.types_pb2")
        rows = "\n".join(f"| {name} | {value} |" for name, value in subject.settings.items())
        text = f"| setting | value |\n| --- | --- |\n{rows}"
        tensor = tensors.TensorProto(dtype=types.DT_STRING, string_val=[text.encode()])
        plugin = self._summaries.SummaryMetadata.PluginData(plugin_name="text")
        value = self._summaries.Summary.Value(
            tag="settings",
            tensor=tensor,
            metadata=self._summaries.SummaryMetadata(plugin_data=plugin),
        )
        self._add(0, summary=self._summaries.Summary(value=[value]))

    def _add(self, step: int, **parts: Any) -> None:
        self._writer.add_event(self._events.Event(wall_time=time.time(), step=step, **parts))
