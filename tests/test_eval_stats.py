"""Means, rates, counts, shares and their bootstrap intervals, against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.stats import differences, interval, metrics_of, spread
from eval.values import Outcome, Score


def outcomes(*rows: tuple[str, float | None], name: str = "m", weight: float = 1.0) -> list[Outcome]:
    made = []
    for n, (group, value) in enumerate(rows):
        score = Score(value=value, weight=weight, reason="" if value is not None else "broken")
        made.append(Outcome(case=f"c{n}", group=group, scores={name: score}))
    return made


def test_a_mean_is_of_the_scored_cases_and_says_how_many_are_not() -> None:
    metric = metrics_of(outcomes(("a", 1.0), ("b", 0.0), ("c", 0.5), ("d", None)))["m"]
    assert (metric.value, metric.n, metric.unscored) == (0.5, 3, 1)
    assert metric.ci95 is not None and metric.ci95[0] <= 0.5 <= metric.ci95[1]


def test_a_rate_is_a_sum_over_a_sum() -> None:
    """3 wrong memories in 250 turns are 1.2 per 100 turns, however the turns fall on the cases."""
    rows = [
        Outcome(case="x", group="x", scores={"rate": Score(value=1, weight=0.5)}),
        Outcome(case="y", group="y", scores={"rate": Score(value=2, weight=2.0)}),
    ]
    assert metrics_of(rows)["rate"].value == pytest.approx(1.2)


def test_a_count_is_the_sum() -> None:
    metric = metrics_of(outcomes(("a", 1.0), ("a", 1.0), ("b", 0.0), ("c", None)), counts=frozenset({"m"}))["m"]
    assert (metric.value, metric.n, metric.unscored) == (2.0, 3, 1)
    assert metric.ci95 is not None and metric.ci95[1] <= 3.0


def test_a_share_of_nothing_is_none() -> None:
    """Memory wins 3 of 60 and the reference 30: a tenth. A reference that wins as often as it loses is no base."""
    won = [
        Outcome(case=f"{n}", group=f"{n}", scores={"gain": Score(value=float(n < 3), weight=float(n < 30))})
        for n in range(60)
    ]
    assert metrics_of(won, guarded=frozenset({"gain"}))["gain"].value == pytest.approx(0.1)
    even = [
        Outcome(case=f"{n}", group=f"{n}", scores={"gain": Score(value=1.0, weight=1.0 if n % 2 else -1.0)})
        for n in range(61)
    ]
    metric = metrics_of(even, guarded=frozenset({"gain"}))["gain"]
    assert (metric.value, metric.ci95) == (None, None)
    assert metrics_of(even)["gain"].value is not None


def test_groups_are_resampled_and_not_cases() -> None:
    """Ten equal cases of each of two people say no more than one: the interval reaches both people's own means."""
    rows = [("a", 1.0)] * 10 + [("b", 0.0)] * 10
    clustered = metrics_of(outcomes(*rows))["m"]
    assert clustered.ci95 == (0.0, 1.0)
    single = metrics_of(outcomes(*((f"{n}", value) for n, (_, value) in enumerate(rows))))["m"]
    assert single.ci95 is not None and single.ci95[1] - single.ci95[0] < 0.6


def test_the_interval_agrees_with_the_normal_approximation() -> None:
    values = np.random.default_rng(0).normal(3, 1, 400)
    found = interval([str(n) for n in range(400)], values.tolist(), [1.0] * 400, seed=1)
    half = 1.96 * values.std() / 20
    assert found.ci95 is not None
    assert found.ci95 == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_one_group_has_no_interval_and_no_case_no_value() -> None:
    assert metrics_of(outcomes(("a", 1.0), ("a", 0.0)))["m"].ci95 is None
    metric = metrics_of(outcomes(("a", None)))["m"]
    assert (metric.value, metric.ci95, metric.n, metric.unscored) == (None, None, 0, 1)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.floats(0, 1)), min_size=1, max_size=30), st.integers(0, 5))
def test_the_value_lies_within_reach_and_a_seed_repeats(rows: list[tuple[str, float]], seed: int) -> None:
    one, two = (metrics_of(outcomes(*rows), seed=seed)["m"] for _ in range(2))
    assert one == two
    assert one.value == pytest.approx(sum(value for _, value in rows) / len(rows))
    if one.ci95 is not None:
        assert -1e-9 <= one.ci95[0] <= one.ci95[1] <= 1 + 1e-9


def test_a_difference_is_paired_by_case() -> None:
    """B is better by .1 in every case: the spread between cases does not blur that."""
    a = [Outcome(case=f"{n}", group=f"{n}", scores={"m": Score(value=n / 20)}) for n in range(10)]
    b = [Outcome(case=f"{n}", group=f"{n}", scores={"m": Score(value=n / 20 + 0.1)}) for n in reversed(range(10))]
    found = differences(a, [*b, Outcome(case="only-b", group="z", scores={"m": Score(value=9.0)})])["m"]
    assert found.n == 10
    assert found.difference == pytest.approx(0.1)
    assert found.ci95 == pytest.approx((0.1, 0.1))


def test_a_case_that_one_run_could_not_score_is_not_compared() -> None:
    found = differences(outcomes(("a", 1.0), ("b", None)), outcomes(("a", 0.0), ("b", 1.0)))["m"]
    assert (found.n, found.difference, found.ci95) == (1, -1.0, None)


def test_a_difference_of_counts_is_a_difference_of_sums_and_shares_are_left_out() -> None:
    a = outcomes(("a", 1.0), ("b", 1.0), ("c", 0.0), name="lost")
    b = outcomes(("a", 0.0), ("b", 0.0), ("c", 0.0), name="lost")
    found = differences(a, b, counts=frozenset({"lost"}))["lost"]
    assert (found.a, found.b, found.difference) == pytest.approx((2.0, 0.0, -2.0))
    shares = outcomes(("a", 1.0), ("b", 1.0), name="gain_share_choice")
    assert differences(shares, shares, guarded=frozenset({"gain_share"})) == {}


def test_spread_is_the_best_minus_the_worst_over_the_cases_that_have_all() -> None:
    rows = [
        Outcome(case=f"{n}", group=f"{n}", scores={"x": Score(value=float(n < 6)), "y": Score(value=float(n < 2))})
        for n in range(10)
    ]
    rows.append(Outcome(case="z", group="z", scores={"x": Score(value=1.0), "y": Score(value=None, reason="failed")}))
    found = spread(rows, ["x", "y"])
    assert (found.value, found.n, found.unscored) == (pytest.approx(0.4), 10, 1)
    assert found.ci95 is not None and 0 <= found.ci95[0] <= 0.4 <= found.ci95[1]
