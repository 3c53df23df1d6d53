"""None, watch or act: on simulated traffic, on findings made by hand, and how often falsely."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from bench.drift.traffic import DRIFTS, HEALTHY, Traffic, centres, draw
from core.drift_settings import CohensHSettings, DriftSettings, EffectSettings
from monitoring.drift.clusters import naming_words, new_clusters
from monitoring.drift.columns import BY_NAME, COLUMNS
from monitoring.drift.comparison import Compared, Comparison, Finding, compare
from monitoring.drift.decision import Past, decide, p_words
from monitoring.drift.sample import Sample, Vectors

RULES = DriftSettings(permutations=19_999)
MIDDLES = centres(1)


def sample(traffic: Traffic, rows: int, seed: int) -> Sample:
    return draw(traffic, rows, np.random.default_rng(seed), MIDDLES, vectors=400)


def compared(traffic: Traffic, seed: int = 1, rules: DriftSettings = RULES) -> Comparison:
    reference, window = sample(HEALTHY, 3_000, seed), sample(traffic, 2_000, seed + 1_000)
    return compare(Compared("healthy_week", reference, window, [window]), rules, seed)


def finding(name: str, *, p: float = 1e-6, strength: float = 2.0, large: bool = False) -> Finding:
    return Finding(
        BY_NAME[name], (900, 900), p, p, {"cohens_h": 0.3}, strength, large, "80 %", "70 %"
    )


def decided(found: list[Finding], past: Past | None = None, rules: DriftSettings = RULES) -> str:
    comparison = Comparison("healthy_week", tuple(found))
    return decide(comparison, past or Past(), rules).severity


@pytest.mark.parametrize(
    ("drift", "columns"),
    [
        ("new topic +30 %", {"topic", "novelty", "embedding"}),
        ("known topic +10 %", {"topic"}),
        ("prompts x1.5", {"prompt_chars", "prompt_tokens"}),
        ("language mix", {"language"}),
        ("rating -10 points", {"rating", "rating_stream"}),
        ("refusals +5 points", {"refusal"}),
    ],
)
def test_an_injected_drift_is_found_where_it_is(drift: str, columns: set[str]) -> None:
    """The columns that changed are named, and no other column."""
    comparison = compared(DRIFTS[drift])
    found = decide(comparison, Past(), RULES)
    assert set(found.drifted) == columns
    assert found.severity in {"watch", "act"}
    assert BY_NAME[found.drifted[0]].title in found.reason


def test_false_alarms_are_as_rare_as_said() -> None:
    """Of 120 checks without drift at a rate of 1 in 20, at most 1 in 20 says anything."""
    rules = DriftSettings(alpha=0.05, permutations=1_999, embedding_rows=80)
    tiny = EffectSettings(small=1e-6, large=1.0)  # so that the p-values alone decide
    rules = rules.model_copy(
        update={
            name: tiny
            for name in ("cliffs_delta", "wasserstein", "cramers_v", "cohens_h", "rating_drop")
        }
    )
    alarms = 0
    for seed in range(120):
        generator = np.random.default_rng(seed)
        reference = draw(HEALTHY, 600, generator, MIDDLES, vectors=80)
        window = draw(HEALTHY, 400, generator, MIDDLES, vectors=80)
        comparison = compare(Compared("healthy_week", reference, window, [window]), rules, seed)
        alarms += decide(comparison, Past(), rules).severity != "none"
    assert alarms <= 11  # 6 allowed on average, two deviations


def test_a_check_says_the_same_again() -> None:
    """The same samples and seed give the same findings."""
    assert compared(HEALTHY, 5) == compared(HEALTHY, 5)


def test_nothing_is_said_of_too_few_rows() -> None:
    """Columns with few values are not tested, and the reason says so."""
    few = sample(HEALTHY, 20, 1)
    comparison = compare(Compared("healthy_week", few, few, [few]), RULES, 1)
    assert all(one.p is None for one in comparison.findings)
    assert decide(comparison, Past(), RULES).reason.startswith("nothing could be tested")


def test_training_data_are_compared_by_what_people_ask_only() -> None:
    """Chosen answers and ratings differ from traffic by design."""
    reference = sample(HEALTHY, 500, 1)
    comparison = compare(Compared("training", reference, reference, [reference]), RULES, 1)
    assert {one.column.group for one in comparison.findings} == {"input"}
    assert "novelty" not in {one.column.name for one in comparison.findings}
    assert "training" in decide(comparison, Past(), RULES).reason


def test_vectors_of_another_encoder_are_not_compared() -> None:
    """Another width, or none: the embedding is untested and the other columns are not."""
    window = sample(HEALTHY, 500, 1)
    assert window.embedding is not None
    for embedding in (None, window.embedding[:, :10], window.embedding[:5]):
        other = replace(window, embedding=embedding)
        comparison = compare(Compared("healthy_week", window, other, [other]), RULES, 1)
        untested = {one.column.name for one in comparison.findings if one.p is None}
        assert untested == {"embedding"}


def test_a_share_that_was_never_good_cannot_drop() -> None:
    """No rating was good before: no drop, whatever comes."""
    bad = replace(sample(HEALTHY, 500, 1), flags={"rating": np.zeros(500)})
    comparison = compare(Compared("healthy_week", bad, bad, [bad]), RULES, 1)
    tested = {one.column.name: one for one in comparison.findings if one.p is not None}
    assert tested["rating"].strength == 0.0


def test_a_fall_counts_until_it_is_shown_to_be_small() -> None:
    """A measured fall of 4.4 % of few ratings may be one of 5 %; of many it is not."""

    def drifted(ratings: int) -> bool:
        good = [
            np.repeat([1.0, 0.0], [int(share * ratings), ratings - int(share * ratings)])
            for share in (0.8, 0.765)
        ]
        before, after = (Sample(flags={"rating": one}) for one in good)
        comparison = compare(Compared("healthy_week", before, after, [after]), RULES, 1)
        found = {one.column.name: one for one in comparison.findings}["rating_stream"]
        assert found.strength < 1.0
        assert found.adjusted_p <= RULES.alpha
        return found.drifted(RULES.alpha)

    assert drifted(3_000)
    assert not drifted(300_000)


@pytest.mark.parametrize("part", [0.5, 0.8])
def test_slow_falls_of_ratings_have_their_part_of_alpha(part: float) -> None:
    """Beside another test they are corrected by it; each that is alone has all of alpha."""
    rules = RULES.model_copy(update={"slow_fall_alpha": part})
    good, bad = np.ones(200), np.zeros(200)
    errors, ratings = Sample(flags={"error": good}), [Sample(flags={"rating": bad})]
    before = Sample(flags={"rating": good, "error": good})

    def corrected(window: Sample, recent: list[Sample]) -> dict[str, tuple[float, float]]:
        found = compare(Compared("healthy_week", before, window, recent), rules, 1).findings
        return {one.column.name: (one.p, one.adjusted_p) for one in found if one.p is not None}

    both = corrected(errors, ratings)
    assert both == {"rating_stream": (5e-5, pytest.approx(5e-5 / part)), "error": (1.0, 1.0)}
    assert corrected(Sample(), ratings) == {"rating_stream": (5e-5, 5e-5)}
    assert corrected(errors, []) == {"error": (1.0, 1.0)}


def test_labels_that_are_missing_do_not_count() -> None:
    """An empty label is no category."""
    window = sample(HEALTHY, 500, 1)
    labels = {"topic": np.where(np.arange(500) < 470, "", window.labels["topic"])}
    comparison = compare(Compared("healthy_week", window, Sample(labels=labels), []), RULES, 1)
    assert all(one.p is None for one in comparison.findings)


def test_one_window_is_watched_and_two_are_acted_on() -> None:
    """The same column must have drifted in the window before."""
    found = [finding("topic")]
    assert decided(found) == "watch"
    assert decided(found, Past((frozenset({"topic"}),))) == "act"
    assert decided(found, Past((frozenset({"topic"}), frozenset({"language"})))) == "watch"
    patient = DriftSettings(persistence_windows=3)
    assert decided(found, Past((frozenset({"topic"}),)), patient) == "watch"
    assert decided(found, Past((frozenset({"topic"}),) * 2), patient) == "act"


def test_a_large_drift_is_acted_on_at_once() -> None:
    """No second window is waited for."""
    assert decided([finding("topic", large=True)]) == "act"


def test_what_training_cannot_mend_is_only_watched() -> None:
    """Slow answers are for alerts, unless the settings say otherwise."""
    slow = [finding("latency_s", large=True)]
    comparison = Comparison("healthy_week", tuple(slow))
    assert "alerts" in decide(comparison, Past(), RULES).reason
    assert decided(slow) == "watch"
    assert decided(slow, rules=DriftSettings(acts_on=("operation",))) == "act"


def test_after_an_act_it_waits() -> None:
    """Within the cool-down drift is told and not acted on again."""
    found = [finding("topic", large=True)]
    assert decided(found, Past((), since_act_s=10.0)) == "watch"
    assert decided(found, Past((), since_act_s=RULES.cooldown_s)) == "act"


@given(st.floats(0.0, 1.0), st.floats(0.0, 5.0), st.booleans())
def test_no_act_without_being_sure_and_large_enough(p: float, strength: float, large: bool) -> None:
    """Whatever came before, both are needed."""
    found = [finding("topic", p=p, strength=strength, large=large)]
    said = decided(found, Past((frozenset({"topic"}),)))
    assert (said == "act") == (p <= RULES.alpha and strength >= 1.0)


def test_many_columns_are_told_in_short() -> None:
    """The three largest are named, the others counted."""
    found = [finding(name) for name in ("topic", "language", "novelty", "refusal", "rating")]
    reason = decide(Comparison("healthy_week", tuple(found)), Past(), RULES).reason
    assert "and 2 more columns" in reason


def test_what_training_can_mend_is_told_first() -> None:
    """However much slower answers are: a training that follows must not seem to be for that."""
    found = [finding("latency_s", strength=9.0, large=True), finding("topic", large=True)]
    comparison = Comparison("healthy_week", (*found, finding("language"), finding("novelty")))
    reason = decide(comparison, Past(), RULES).reason
    assert reason.startswith(BY_NAME["topic"].title)
    assert BY_NAME["latency_s"].title not in reason
    assert "and 1 more column (" in reason


def test_p_values_for_people() -> None:
    """A p-value that permutations cannot know is not told with false precision."""
    assert p_words(1e-30) == "below 0.0001"
    assert p_words(0.0312) == "0.031"


def test_large_is_not_below_small() -> None:
    """Settings in the wrong order are refused with both values."""
    with pytest.raises(ValidationError, match=r"large is 0\.1: it must be at least small, 0\.2"):
        EffectSettings(small=0.2, large=0.1)
    with pytest.raises(ValidationError, match=r"large is 0\.8"):
        CohensHSettings(small=0.9)


def test_every_column_has_its_own_name() -> None:
    """Findings are told apart by it."""
    assert len({column.name for column in COLUMNS}) == len(COLUMNS)


def test_a_new_subject_is_found_and_nothing_else() -> None:
    """All rows of the cluster are of the new topic; without one there is no cluster."""
    reference = sample(HEALTHY, 600, 1)
    window = sample(replace(HEALTHY, new_topic=0.2), 400, 2)
    assert reference.embedding is not None
    assert window.embedding is not None
    clusters = new_clusters(reference.embedding, window.embedding, RULES, 1)
    assert len(clusters) == 1
    assert {window.labels["topic"][row] for row in clusters[0].rows} == {"12"}
    assert set(clusters[0].examples) <= set(clusters[0].rows)
    assert clusters[0].share == pytest.approx(0.2, abs=0.08)
    calm = sample(HEALTHY, 400, 3).embedding
    assert calm is not None
    assert new_clusters(reference.embedding, calm, RULES, 1) == []


def test_two_new_subjects_are_two_clusters() -> None:
    """Each group far from the others is its own; few rows are no group."""
    axes = np.eye(6, dtype=np.float32)
    window = np.concatenate([np.repeat(axes[1:3], 20, axis=0), axes[3:5]])
    clusters = new_clusters(np.repeat(axes[:1], 30, axis=0), window, RULES, 1)
    assert sorted(len(cluster.rows) for cluster in clusters) == [20, 20]
    assert new_clusters(axes[:1], window, RULES, 1) == []


def test_a_subject_that_two_leaders_share_is_one() -> None:
    """Groups whose middles are nearer than the radius are put together."""
    known = _on_arc([(1, 0.0), (1, 30.5)], 2)  # 30.5 degrees to the nearest: the radius
    window = _on_arc([(15, 0.0), (1, 30.0), (20, 58.0), (12, 62.0)], 0)
    clusters = new_clusters(known, window, RULES, 1)
    assert clusters == []  # two rows are no reference
    reference = np.concatenate([_on_arc([(2, 0.0), (2, 30.5)], place) for place in (2, 4, 6)])
    clusters = new_clusters(reference, window, RULES, 1)
    assert [len(cluster.rows) for cluster in clusters] == [48]


def test_a_subject_that_all_of_the_window_is_about_is_found() -> None:
    """Though each of its rows is as far from all others as the reference's are."""
    generator = np.random.default_rng(4)
    rows = generator.standard_normal((400, 64)).astype(np.float32)  # all far from each other
    rows[:, 0] += np.where(np.arange(400) < 200, 6.0, -6.0)
    (cluster,) = new_clusters(rows[:200], rows[200:], RULES, 1)
    assert len(cluster.rows) > 100


def test_a_known_subject_that_doubles_is_not_new() -> None:
    """There is some of it in the reference."""
    doubled = sample(replace(HEALTHY, topics=(0.4, *HEALTHY.topics[1:])), 400, 2).embedding
    reference = sample(HEALTHY, 600, 1).embedding
    assert reference is not None
    assert doubled is not None
    assert new_clusters(reference, doubled, RULES, 1) == []


def test_examples_of_a_cluster_differ() -> None:
    """What many asked in the same words is shown once; equal rows tell no radius either."""
    reference = _on_arc([(20, 0.0), (20, 40.0)], 2)
    window = _on_arc([(30, 0.0), (10, 3.0), (10, 9.0)], 0)
    (cluster,) = new_clusters(reference, window, RULES, 1)
    assert (len(cluster.rows), len(cluster.examples)) == (50, 3)
    few = RULES.model_copy(update={"cluster_examples": 2})
    assert len(new_clusters(reference, window, few, 1)[0].examples) == 2


def _on_arc(places: list[tuple[int, float]], axis: int) -> Vectors:
    """Return so many vectors at each angle in degrees, in the plane of two axes of eight."""
    rows = np.zeros((sum(count for count, _ in places), 8), dtype=np.float32)
    angles = np.radians(np.repeat([angle for _, angle in places], [count for count, _ in places]))
    rows[:, axis], rows[:, axis + 1] = np.cos(angles), np.sin(angles)
    return rows


def test_words_name_a_subject() -> None:
    """The words that its texts have and others do not, the most telling first."""
    inside = ["How do I grow tomatoes?", "My tomatoes are yellow", "Tomatoes and basil, how?"]
    outside = ["How do I pay my bill?", "My invoice is wrong"]
    assert naming_words(inside, outside)[0] == "tomatoes"
    assert "my" not in naming_words(inside, outside)
    assert naming_words([], outside) == []
