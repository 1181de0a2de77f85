"""Intervals and tests against scipy, closed forms and simulations, whose margins are their Monte Carlo error.

A share estimated from n draws has the standard error sqrt(p (1 - p) / n); a margin is four of them unless it says so.
"""

from itertools import pairwise

import numpy
import pytest
import scipy.stats

from ssm4rec.artifacts.estimate import NORMAL_EFFECT
from ssm4rec.evaluation.metrics import gains_at
from ssm4rec.evaluation.statistics import (
    Floats,
    bootstrap_means,
    bootstrap_p_value,
    by_user,
    difference_over_seeds,
    flipped_means,
    holm,
    interval,
    mean_over_seeds,
    permutation_p_value,
    standard_error,
)


def margin(share: float, draws: int, errors: float = 4) -> float:
    return errors * (share * (1 - share) / draws) ** 0.5


def two_models(users: int, seed: int, advantage: float = 0.0) -> Floats:
    """Gains (U, 2) of NDCG@10, which agree as those of recommenders do; the first model finds targets more easily."""
    random = numpy.random.default_rng(seed)
    hardness = random.normal(2.5, 1.5, users)
    return numpy.stack(
        [
            gains_at("ndcg", numpy.exp(hardness - shift + random.normal(0, 1, users)).astype(int) + 1, 10)
            for shift in (advantage, 0.0)
        ],
        axis=1,
    )


def permutation_p(gains: Floats, resamples: int, seed: int = 0) -> float:
    flipped = flipped_means(gains, resamples, numpy.random.default_rng(seed))
    return permutation_p_value(float((gains[:, 0] - gains[:, 1]).mean()), flipped[:, 0] - flipped[:, 1])


def test_bootstrap_equals_scipys() -> None:
    gains = two_models(300, seed=1, advantage=0.3)
    difference = gains[:, 0] - gains[:, 1]
    resamples = 20_000
    means = bootstrap_means(gains, resamples, numpy.random.default_rng(0))
    for ours, values in ((means[:, 0], gains[:, 0]), (means[:, 0] - means[:, 1], difference)):
        theirs = scipy.stats.bootstrap(
            (values,), numpy.mean, n_resamples=resamples, method="percentile", random_state=numpy.random.default_rng(1)
        )
        error = values.std() / len(values) ** 0.5
        # A quantile's standard error is sqrt(p (1 - p) / R) / density; both sides have it.
        tolerance = 2**0.5 * margin(0.025, resamples) / scipy.stats.norm.pdf(scipy.stats.norm.ppf(0.025)) * error
        assert interval(ours) == pytest.approx(tuple(theirs.confidence_interval), abs=tolerance)
        assert ours.mean() == pytest.approx(values.mean(), abs=4 * error / resamples**0.5)
        assert ours.std() == pytest.approx(error, rel=4 / (2 * resamples) ** 0.5)


def test_bootstrap_draws_with_replacement() -> None:
    """One of two users has a gain: a resample of two holds it 0, 1 or 2 times with chances 1/4, 1/2, 1/4."""
    means = bootstrap_means(numpy.array([[1.0], [0.0]]), 20_000, numpy.random.default_rng(0))
    for value, chance in ((0, 1 / 4), (1 / 2, 1 / 2), (1, 1 / 4)):
        assert (means == value).mean() == pytest.approx(chance, abs=margin(chance, 20_000))


def test_permutation_equals_scipys_over_all_sign_flips() -> None:
    gains = two_models(12, seed=4, advantage=1.0)
    exact = scipy.stats.permutation_test(
        (gains[:, 0], gains[:, 1]),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=numpy.inf,
        vectorized=True,
    ).pvalue
    assert 0.05 < exact < 0.95  # a case in which a wrong count shows
    assert permutation_p(gains, 50_000) == pytest.approx(exact, abs=margin(exact, 50_000))


@pytest.mark.parametrize(("only_first", "only_second"), [(9, 2), (30, 18), (7, 7), (1, 0)])
def test_permutation_of_hits_is_mcnemars_exact_test(only_first: int, only_second: int) -> None:
    """Only users who are hit by one of the models flip, and the number of one kind among them is binomial."""
    hits = [[1.0, 0.0]] * only_first + [[0.0, 1.0]] * only_second + [[1.0, 1.0]] * 20 + [[0.0, 0.0]] * 60
    exact = scipy.stats.binomtest(only_first, only_first + only_second).pvalue
    found = permutation_p(numpy.array(hits), 40_000)
    assert found == pytest.approx(exact, abs=margin(exact, 40_000) + 1 / 40_001)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one resample have the distribution of one block; the bootstrap's draws are the very same."""
    gains = two_models(200, seed=2, advantage=0.4)
    whole = bootstrap_means(gains, 500, numpy.random.default_rng(3))
    p_value = permutation_p(gains, 4000)
    monkeypatch.setattr("ssm4rec.evaluation.statistics._CELLS", 1)
    assert bootstrap_means(gains, 500, numpy.random.default_rng(3)) == pytest.approx(whole, abs=1e-12)
    assert permutation_p(gains, 4000) == pytest.approx(p_value, abs=2**0.5 * margin(p_value, 4000))


def test_the_same_seed_gives_the_same_numbers() -> None:
    gains = two_models(50, seed=6)
    for draw in (bootstrap_means, flipped_means):
        first, again, other = (draw(gains, 20, numpy.random.default_rng(seed)) for seed in (5, 5, 6))
        assert (first == again).all()
        assert (first != other).any()


def test_p_values_are_uniform_under_the_null() -> None:
    """A thousand pairs of models that are equal but for chance: neither test finds more than its level promises."""
    gains = numpy.concatenate([two_models(250, seed=1000 + seed) for seed in range(1000)], axis=1)
    observed = (gains[:, ::2] - gains[:, 1::2]).mean(axis=0)
    drawn, flipped = (draw(gains, 2000, numpy.random.default_rng(0)) for draw in (bootstrap_means, flipped_means))
    drawn, flipped = drawn[:, ::2] - drawn[:, 1::2], flipped[:, ::2] - flipped[:, 1::2]
    bootstrap = [bootstrap_p_value(column) for column in drawn.T]
    permutation = [permutation_p_value(*pair) for pair in zip(observed, flipped.T, strict=True)]
    for p_values in (bootstrap, permutation):
        assert scipy.stats.kstest(p_values, "uniform").pvalue > 0.01
        assert numpy.mean(numpy.array(p_values) <= 0.05) == pytest.approx(0.05, abs=margin(0.05, 1000))


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    population = two_models(100_000, seed=8, advantage=0.5)
    truth = (population[:, 0] - population[:, 1]).mean()
    users = numpy.random.default_rng(0).integers(len(population), size=(250, 1000))  # of a thousand test sets
    gains = population[users].reshape(250, -1)
    means = bootstrap_means(gains, 2000, numpy.random.default_rng(1))
    bounds = numpy.array([interval(column) for column in (means[:, ::2] - means[:, 1::2]).T])
    covered = (bounds[:, 0] <= truth) & (truth <= bounds[:, 1])
    assert covered.mean() == pytest.approx(0.95, abs=margin(0.95, 1000))


def test_the_minimum_detectable_effect_is_found_four_times_in_five() -> None:
    users, deviation = 300, 0.2
    shown = (1.959964 + 0.841621) * deviation / users**0.5  # from a table of the normal distribution
    differences = numpy.random.default_rng(9).normal(shown, deviation, (users, 1000))
    exact = differences[:, 0] * deviation / differences[:, 0].std(ddof=1)
    assert NORMAL_EFFECT * standard_error(exact) == pytest.approx(shown, rel=1e-6)
    flipped = flipped_means(differences, 2000, numpy.random.default_rng(1))
    p_values = [permutation_p_value(*pair) for pair in zip(differences.mean(axis=0), flipped.T, strict=True)]
    assert numpy.mean(numpy.array(p_values) <= 0.05) == pytest.approx(0.8, abs=margin(0.8, 1000))


def test_holm_by_hand() -> None:
    """Sorted .005, .01, .03, .04 times 4, 3, 2, 1: .02, .03, .06, .04, and the last is no smaller than .06."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([3 * 0.01, 2 * 0.03, 2 * 0.03, 4 * 0.005])
    assert holm([0.4, 0.6, 0.9]) == [1.0, 1.0, 1.0]
    assert holm([0.03]) == [0.03]


def test_holm_rejects_what_the_step_down_procedure_rejects() -> None:
    """Holm's own words: from the smallest p on, reject while p_(k) <= level / (P - k + 1)."""
    random = numpy.random.default_rng(0)
    for _ in range(200):
        p_values = random.random(7) ** 4
        rejected = set()
        for number, place in enumerate(numpy.argsort(p_values)):
            if p_values[place] > 0.05 / (7 - number):
                break
            rejected.add(int(place))
        assert {place for place, adjusted in enumerate(holm(list(p_values))) if adjusted <= 0.05} == rejected


def test_models_that_gain_the_same_or_nothing() -> None:
    for gains in (numpy.zeros((5, 2)), numpy.ones((5, 2))):
        means = bootstrap_means(gains, 100, numpy.random.default_rng(0))
        assert interval(means[:, 0]) == (gains[0, 0], gains[0, 0])
        assert bootstrap_p_value(means[:, 0] - means[:, 1]) == 1
        assert permutation_p(gains, 100) == 1
        assert standard_error(gains[:, 0] - gains[:, 1]) == 0


def test_p_values_never_reach_zero() -> None:
    gains = numpy.array([[1.0, 0.0]] * 200)
    assert permutation_p(gains, 99) == 1 / 100
    means = bootstrap_means(gains, 99, numpy.random.default_rng(0))
    assert bootstrap_p_value(means[:, 0] - means[:, 1]) == 2 / 100


def test_seeds_have_students_interval() -> None:
    values = [0.31, 0.29, 0.33]
    found = mean_over_seeds(values)
    expected = scipy.stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert (found.value, found.n) == (pytest.approx(0.31), 3)
    alone = mean_over_seeds([0.31])
    assert (alone.value, alone.n, alone.has_interval) == (0.31, 1, False)


def test_the_effect_over_seeds_is_found_about_four_times_in_five() -> None:
    """By simulation; t(0.975) + t(0.8) is an approximation, 0.02 of the chance."""
    for seeds in (3, 5, 10):
        values = numpy.random.default_rng(seeds).normal(size=(4000, seeds))
        values -= values.mean(axis=1, keepdims=True)
        values /= values.std(axis=1, ddof=1, keepdims=True)
        effect = difference_over_seeds(values[0].tolist()).mde
        trials = numpy.random.default_rng(1).normal(effect, 1, (4000, seeds))
        p_values = scipy.stats.ttest_1samp(trials, 0, axis=1).pvalue
        assert numpy.mean(p_values <= 0.05) == pytest.approx(0.8, abs=0.05), seeds
    assert difference_over_seeds([0.01]).mde is None


def test_a_larger_advantage_is_a_smaller_p_value() -> None:
    p_values = [permutation_p(two_models(300, seed=3, advantage=advantage), 2000) for advantage in (0.0, 0.4, 0.8)]
    assert all(smaller > larger for smaller, larger in pairwise(p_values))


def several_targets(users: int, seed: int, advantage: float = 0.0) -> tuple[Floats, "numpy.ndarray"]:
    """Gains (T, 2) of users with 1 to 12 targets each, alike within a user, and whose they are (T,)."""
    random = numpy.random.default_rng(seed)
    owners = numpy.repeat(numpy.arange(users), random.integers(1, 13, users))
    hardness = random.normal(2.5, 1.5, users)[owners]
    ranks = [
        numpy.exp(hardness - shift + random.normal(0, 0.5, len(owners))).astype(int) + 1 for shift in (advantage, 0.0)
    ]
    return numpy.stack([gains_at("ndcg", one, 10) for one in ranks], axis=1), owners


def test_users_are_drawn_with_all_their_targets() -> None:
    """One target found, three of another user missed: a resample of two users has the mean 0, 1/4 or 1."""
    sums, targets = by_user(numpy.array([[1.0], [0.0], [0.0], [0.0]]), numpy.array([3, 5, 5, 5]))
    assert (sums.tolist(), targets.tolist()) == ([[1.0], [0.0]], [1, 3])
    means = bootstrap_means(sums, 20_000, numpy.random.default_rng(0), targets)
    for value, chance in ((0, 1 / 4), (1 / 4, 1 / 2), (1, 1 / 4)):
        assert numpy.isclose(means, value).mean() == pytest.approx(chance, abs=margin(chance, 20_000))


def test_the_cluster_bootstrap_equals_a_loop_over_users() -> None:
    gains, owners = several_targets(60, seed=3)
    sums, targets = by_user(gains, owners)
    ours = bootstrap_means(sums, 4000, numpy.random.default_rng(0), targets)
    of_user = [gains[owners == user] for user in range(60)]
    random = numpy.random.default_rng(1)
    loop = numpy.array(
        [numpy.concatenate([of_user[user] for user in random.integers(60, size=60)]).mean(axis=0) for _ in range(4000)]
    )
    error = loop.std(axis=0)
    assert ours.mean(axis=0) == pytest.approx(loop.mean(axis=0), abs=float(6 * error.max() / 4000**0.5))
    assert ours.std(axis=0) == pytest.approx(error, rel=0.07)
    for quantile in (0.025, 0.25, 0.75, 0.975):
        found, expected = (numpy.quantile(one, quantile, axis=0) for one in (ours, loop))
        assert found == pytest.approx(expected, abs=float(0.15 * error.max()))
    assert standard_error(sums[:, 0], targets) == pytest.approx(error[0], rel=0.07)


def test_targets_of_a_user_that_are_alike_say_no_more_than_one() -> None:
    """Five copies of every target: as users they would make intervals narrower by sqrt(5)."""
    gains = two_models(200, seed=2, advantage=0.4)
    sums, targets = by_user(numpy.repeat(gains, 5, axis=0), numpy.repeat(numpy.arange(200), 5))
    assert targets.tolist() == [5] * 200
    copied, alone = (
        (draw(sums, 3000, numpy.random.default_rng(0), targets), draw(gains, 3000, numpy.random.default_rng(0)))
        for draw in (bootstrap_means, flipped_means)
    )
    for several, single in (copied, alone):
        assert several.std(axis=0) == pytest.approx(single.std(axis=0), rel=0.08)
    difference, of_sums = gains[:, 0] - gains[:, 1], sums[:, 0] - sums[:, 1]
    assert standard_error(of_sums, targets) == pytest.approx(difference.std(ddof=1) / 200**0.5)


def test_intervals_over_users_with_several_targets_hold_the_truth() -> None:
    """95% intervals of 200 studies hold the mean of a population whose users are alike in themselves."""
    _, targets = by_user(*several_targets(20_000, seed=99))
    whole, _ = several_targets(20_000, seed=99)
    truth = whole.mean(axis=0)[0]
    held = 0
    for study in range(200):
        sums, targets = by_user(*several_targets(150, seed=1000 + study))
        low, high = interval(bootstrap_means(sums, 400, numpy.random.default_rng(study), targets)[:, 0])
        held += low <= truth <= high
    assert held / 200 == pytest.approx(0.95, abs=margin(0.95, 200))


def test_the_permutation_test_swaps_users_whole() -> None:
    """All sign flips of six users, three targets each, by hand."""
    gains, owners = several_targets(6, seed=8, advantage=1.0)
    sums, targets = by_user(gains, owners)
    flipped = flipped_means(sums, 30_000, numpy.random.default_rng(0), targets)
    difference = sums[:, 0] - sums[:, 1]
    signs = numpy.array([[1 if number >> place & 1 else -1 for place in range(6)] for number in range(64)])
    every = signs @ difference / len(gains)
    observed = float(difference.sum() / len(gains))
    exact = (abs(every) >= abs(observed) - 1e-12).mean()
    ours = permutation_p_value(observed, flipped[:, 0] - flipped[:, 1])
    assert ours == pytest.approx(exact, abs=margin(exact, 30_000) + 1 / 30_000)
