"""What doubts rely on in an engine: the fake and the real vLLM alike."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.settings import EngineSettings
from curation.review.doubt import Scorer, ScorerError, score
from curation.stages.tokens import load_tokenizer
from tests.fakes.scorer import FakeScorer
from tests.unit.candidate_tables import pair, row, table_of
from tests.unit.curation_world import write_tokenizer

QUESTION = "What is the capital of France"
PLAIN = "The capital of France is Paris"
ODD = "Zyxqwv gubernatorial kumquats photosynthesised xylophonically"


@pytest.fixture(scope="module", params=["fake", pytest.param("vllm", marks=pytest.mark.stack)])
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[EngineSettings]:
    if request.param == "vllm":
        url, model = (request.getfixturevalue(name) for name in ("vllm_engine", "base_model"))
        yield EngineSettings(replicas=(url,), model=model)
        return
    model = write_tokenizer(tmp_path_factory.mktemp("model"))
    with FakeScorer() as server:
        yield EngineSettings(replicas=(server.url,), model=model)


def scorer(engine: EngineSettings, model: str = "base") -> Scorer:
    """Return what asks the engine for one conversation."""
    return Scorer(engine.replicas[0], model, load_tokenizer(engine.model))


def said(answer: str, question: str = QUESTION) -> list[dict[str, str]]:
    """Return a conversation of one turn."""
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


def test_odd_words_are_doubted_more(engine: EngineSettings) -> None:
    """Of demonstrations and of pairs, of which the chosen answer counts."""
    table = table_of(
        row(QUESTION, PLAIN, id_="plain"),
        row(QUESTION, ODD, id_="odd"),
        pair(QUESTION, PLAIN, ODD, id_="both"),
    )
    told: list[int] = []
    found = score([table.slice(0, 2), table.slice(2)], engine, "base", told.append)
    by = found.by_candidate
    assert found.warning == ""
    assert told == [1, 2, 3]
    assert by["odd:demonstration"] < by["plain:demonstration"] < 0.0
    assert by["both:pair"] == pytest.approx(by["plain:demonstration"], abs=0.05)


def test_white_space_around_an_answer_counts_for_nothing(engine: EngineSettings) -> None:
    """Chat templates differ in whether they keep it."""
    one, other = (scorer(engine).score(said(text)) for text in (PLAIN, f"  {PLAIN}\n\n"))
    assert one == pytest.approx(other, abs=0.05)


def test_what_the_engine_cannot_read_has_no_score(engine: EngineSettings) -> None:
    """A conversation that is too long, and an answer without a token."""
    assert scorer(engine).score(said(PLAIN, "word " * 3_000)) is None
    assert scorer(engine).score(said(" \n")) is None


def test_a_model_that_is_not_served_ends_the_asking(engine: EngineSettings) -> None:
    """It is named."""
    with pytest.raises(ScorerError, match="does not serve desk--v9"):
        scorer(engine, "desk--v9").score(said(PLAIN))


def test_an_engine_that_is_away_leaves_a_warning(tmp_path: Path) -> None:
    """What was scored before stays scored."""
    table = table_of(*(row(f"{QUESTION} {n}", PLAIN) for n in range(3)))
    with FakeScorer() as server:
        engine = EngineSettings(replicas=(server.url,), model=write_tokenizer(tmp_path))

        def leave(done: int) -> None:
            server.stop()

        found = score([table], engine, "base", leave)
    assert len(found.by_candidate) == 1
    assert "scored 1: it does not answer" in found.warning


@pytest.mark.parametrize(("fault", "told"), [(500, "status 500"), (None, "no log-probabilities")])
def test_an_engine_of_no_use_leaves_a_warning(tmp_path: Path, fault: int | None, told: str) -> None:
    """One that fails, and one that is no vLLM."""
    with FakeScorer() as server:
        server.scores = False
        if fault:
            server.fail_next(fault)
        engine = EngineSettings(replicas=(server.url,), model=write_tokenizer(tmp_path))
        found = score([table_of(row(QUESTION, PLAIN))], engine, "base", lambda _: None)
    assert dict(found.by_candidate) == {}
    assert told in found.warning


def test_engines_that_only_kubernetes_knows_are_not_asked() -> None:
    """Their addresses are the gateway's affair."""
    engine = EngineSettings(kubernetes_service="default/vllm:8000")
    found = score([table_of(row(QUESTION, PLAIN))], engine, "base", lambda _: None)
    assert "engine.replicas names none" in found.warning
