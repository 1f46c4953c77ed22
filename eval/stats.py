"""Intervals: a cluster bootstrap of sums over sums, for one run and for the difference of two."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from eval.values import Metric, Outcome, Score

RESAMPLES = 2000


class Interval(NamedTuple):
    """A ratio of sums and its 95 % percentile interval; None where every weight is 0."""

    value: float | None
    ci95: tuple[float, float] | None
    weight_ci95: tuple[float, float] | None = None
    """Interval of the sum of the weights: tells whether a denominator can be told from 0."""


def interval(
    groups: Sequence[str],
    values: Sequence[float],
    weights: Sequence[float],
    *,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Interval:
    """Sum of values over sum of weights, with an interval from resampling whole groups with replacement.

    Groups and not cases are drawn, because cases of one person are not independent. One group alone has no interval.

    Args:
        groups: (cases,) the group of each case.
        values: (cases,)
        weights: (cases,)
        seed: of the resampling.
        resamples: how many.
    """
    value_G, weight_G = _by_group(groups, values), _by_group(groups, weights)
    if not len(value_G):
        return Interval(None, None)
    value = _ratio(value_G.sum(), weight_G.sum())
    if len(value_G) < 2:
        return Interval(value, None)
    drawn_RG = np.random.default_rng(seed).integers(0, len(value_G), (resamples, len(value_G)))
    values_R, weights_R = value_G[drawn_RG].sum(1), weight_G[drawn_RG].sum(1)
    defined_R = weights_R != 0
    ratios = values_R[defined_R] / weights_R[defined_R]
    return Interval(value, _middle(ratios) if len(ratios) else None, _middle(weights_R))


def metrics_of(
    outcomes: Iterable[Outcome],
    *,
    counts: Set[str] = frozenset(),
    guarded: Set[str] = frozenset(),
    seed: int = 0,
) -> dict[str, Metric]:
    """Every metric that the outcomes have scores of, in the order in which they are met.

    Args:
        outcomes: of one run.
        counts: metrics that are a sum instead of a mean.
        guarded: beginnings of the names of metrics that are None unless the interval of their denominator excludes 0.
        seed: of the bootstrap.
    """
    scores: dict[str, list[tuple[str, Score]]] = {}
    for outcome in outcomes:
        for name, score in outcome.scores.items():
            scores.setdefault(name, []).append((outcome.group, score))
    return {
        name: _metric(own, count=name in counts, guard=name.startswith(tuple(guarded)), seed=seed)
        for name, own in scores.items()
    }


def _metric(scores: Sequence[tuple[str, Score]], *, count: bool, guard: bool, seed: int) -> Metric:
    scored = [(group, score.value, score.weight) for group, score in scores if score.value is not None]
    groups, values = [group for group, _, _ in scored], [value for _, value, _ in scored]
    weights = [weight for _, _, weight in scored]
    found = interval(groups, values, weights, seed=seed)
    value, ci95 = found.value, found.ci95
    if count and scored:
        total = sum(weights)
        value, ci95 = float(sum(values)), None if ci95 is None else (ci95[0] * total, ci95[1] * total)
    if guard and (found.weight_ci95 is None or found.weight_ci95[0] <= 0 <= found.weight_ci95[1]):
        value = ci95 = None
    return Metric(value=value, ci95=ci95, n=len(scored), unscored=len(scores) - len(scored))


def spread(outcomes: Sequence[Outcome], names: Sequence[str], *, seed: int = 0) -> Metric:
    """The greatest minus the smallest of several metrics, over the cases that all of them scored.

    It is never below 0 and chance alone makes it greater than 0: read it together with its interval.
    """
    complete = [
        one for one in outcomes if all(one.scores.get(name, Score(value=None)).value is not None for name in names)
    ]
    groups = [outcome.group for outcome in complete]
    columns = [[outcome.scores[name].value or 0.0 for outcome in complete] for name in names]
    values_VG = np.array([_by_group(groups, column) for column in columns])
    size_G = _by_group(groups, [1.0] * len(groups))
    unscored = len(outcomes) - len(complete)
    if not len(size_G):
        return Metric(value=None, ci95=None, n=0, unscored=unscored)
    drawn_RG = np.random.default_rng(seed).integers(0, len(size_G), (RESAMPLES, len(size_G)))
    means_VR = values_VG[:, drawn_RG].sum(2) / size_G[drawn_RG].sum(1)
    value = float(np.ptp(values_VG.sum(1) / size_G.sum()))
    ci95 = _middle(np.ptp(means_VR, axis=0)) if len(size_G) > 1 else None
    return Metric(value=value, ci95=ci95, n=len(complete), unscored=unscored)


class Difference(NamedTuple):
    """One metric of two runs, over the cases that both scored."""

    a: float | None
    b: float | None
    difference: float | None
    """b minus a."""
    ci95: tuple[float, float] | None
    n: int


def differences(
    a: Iterable[Outcome],
    b: Iterable[Outcome],
    *,
    counts: Set[str] = frozenset(),
    guarded: Set[str] = frozenset(),
    seed: int = 0,
) -> dict[str, Difference]:
    """For each metric of both runs the paired difference b − a with its bootstrap interval over groups.

    Guarded shares are left out: a difference of two of them means nothing where a denominator may be nothing.
    """
    other = {outcome.case: outcome for outcome in b}
    pairs: dict[str, list[tuple[str, Score, Score]]] = {}
    for outcome in a:
        twin = other.get(outcome.case)
        for name, score in outcome.scores.items() if twin else ():
            against = twin.scores.get(name) if twin else None
            if score.value is not None and against is not None and against.value is not None:
                pairs.setdefault(name, []).append((outcome.group, score, against))
    shares = tuple(guarded)
    return {name: _difference(own, seed, name in counts) for name, own in pairs.items() if not name.startswith(shares)}


def _difference(pairs: Sequence[tuple[str, Score, Score]], seed: int, count: bool) -> Difference:
    groups = [group for group, _, _ in pairs]
    columns = [
        _by_group(groups, [getattr(pair[place], field) or 0.0 for pair in pairs])
        for place in (1, 2)
        for field in ("value", "weight")
    ]
    if count:  # a sum: every weight is that of the whole
        columns[1] = columns[3] = np.full(len(columns[0]), 1 / len(columns[0]))
    a, b = _ratio(columns[0].sum(), columns[1].sum()), _ratio(columns[2].sum(), columns[3].sum())
    difference = None if a is None or b is None else b - a
    size = len(columns[0])
    if difference is None or size < 2:
        return Difference(a, b, difference, None, len(pairs))
    drawn_RG = np.random.default_rng(seed).integers(0, size, (RESAMPLES, size))
    sums = [column[drawn_RG].sum(1) for column in columns]
    defined = (sums[1] != 0) & (sums[3] != 0)
    gaps = sums[2][defined] / sums[3][defined] - sums[0][defined] / sums[1][defined]
    return Difference(a, b, difference, _middle(gaps) if len(gaps) else None, len(pairs))


def _by_group(groups: Sequence[str], numbers: Sequence[float]) -> NDArray[np.float64]:
    """(groups,) sums of the numbers of each group, groups in the order of their names."""
    sums: dict[str, float] = dict.fromkeys(sorted(set(groups)), 0.0)
    for group, number in zip(groups, numbers, strict=True):
        sums[group] += number
    return np.array(list(sums.values()))


def _ratio(value: float, weight: float) -> float | None:
    return float(value / weight) if weight else None


def _middle(sample: NDArray[np.float64]) -> tuple[float, float]:
    low, high = np.percentile(sample, (2.5, 97.5))
    return float(low), float(high)
