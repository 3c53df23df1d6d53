"""What of an interaction, or of a feedback to it, may be written: as its application's mode says.

`full`: all. `redacted`: every text with placeholders, in one conversation. `metadata_only`: no
text at all, of people or of errors, and of the parameters what cannot be text. Built once from
the settings; knows nothing of events. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from core.settings import ApplicationSettings, RedactionMode
from feedback.redaction.redactor import Redactor

# Parameters whose strings the request types limit to a few words
WORDED = frozenset({"reasoning_effort", "encoding_format", "truncation"})


class Redactors:
    """The redactors of all applications, and the key of their fingerprints.

    Raises: SettingsError that names a pattern which cannot be used.
    """

    def __init__(self, applications: Mapping[str, ApplicationSettings], key: bytes) -> None:
        self._key = key
        self._of: dict[str, tuple[RedactionMode, Redactor]] = {
            name: (application.redaction, Redactor(application.redaction_patterns))
            for name, application in applications.items()
        }

    def writing(self, application: str, interaction_id: str) -> Writing:
        """Return what writes the texts of one interaction of an application."""
        mode, redactor = self._of[application]
        return Writing(mode, redactor, self._key, interaction_id)


class Writing:
    """Texts as they may be written. Ask for them in the order of the conversation."""

    def __init__(
        self, mode: RedactionMode, redactor: Redactor, key: bytes, interaction_id: str
    ) -> None:
        self._mode = mode
        self._conversation = redactor.conversation()
        self._key = key
        self._interaction_id = interaction_id

    def text(self, text: str) -> str:
        """Return what may be written of `text`."""
        if self._mode == "full":
            return text
        return self._conversation.redact(text) if self._mode == "redacted" else ""

    def texts(self, texts: Sequence[str]) -> Sequence[str]:
        """Return what may be written of the texts of a conversation, in order."""
        if self._mode == "redacted":
            return self._conversation.redact_all(texts)
        return [self.text(text) for text in texts]

    def parameters(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return what may be written of a request's parameters: stop texts, tools and schemas too.

        Without text, only numbers, truth values and words of a fixed choice are left.
        """
        if self._mode == "full":
            return dict(values)
        if self._mode == "redacted":
            return {name: self._redacted(value) for name, value in values.items()}
        return {
            name: value
            for name, value in values.items()
            if value is None or isinstance(value, int | float) or name in WORDED
        }

    def redactions(self) -> dict[str, str]:
        """Return the keyed fingerprint of what each placeholder stands for."""
        return self._conversation.fingerprints(self._key, self._interaction_id)

    def _redacted(self, value: Any) -> Any:
        if value is None or isinstance(value, int | float):
            return value
        return _each_text(msgspec.to_builtins(value), self._conversation.redact)


def _each_text(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [_each_text(item, change) for item in value]
    if isinstance(value, dict):
        return {key: _each_text(item, change) for key, item in value.items()}
    return value
