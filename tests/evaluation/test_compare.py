"""The comparison of a study's models agrees with its definitions and with scipy; what does not belong is refused."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import scipy.stats

from ssm4rec.artifacts.candidates import Candidates
from ssm4rec.artifacts.comparison import Comparison, ModelRow, PairRow
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.names import BASELINES
from ssm4rec.artifacts.ranks import Ranks
from ssm4rec.evaluation.beyond_accuracy import TrainingUsers, debiasing_weights, diversity, novelty, serendipity
from ssm4rec.evaluation.compare import compare, gather
from ssm4rec.evaluation.metrics import gains_at, metric_at
from ssm4rec.evaluation.statistics import holm, mean_over_seeds
from ssm4rec.runtime.errors import InputError

ITEMS = 40
RESAMPLES = 4000


@pytest.fixture
def dataset(write_dataset: "object") -> SequenceDataset:
    """80 users, popular items first."""
    random = numpy.random.default_rng(1)
    sequences = [
        (1 + random.geometric(0.15, size=length).clip(max=ITEMS - 1)).tolist() for length in random.integers(3, 20, 80)
    ]
    return read_sequences(write_dataset([*sequences, list(range(1, ITEMS + 1))]))


def ranks_of(dataset: SequenceDataset, model: str, seed: int, best: int) -> Ranks:
    """Return random ranks, those of the baselines the same for all models."""
    random, popular = numpy.random.default_rng([best, seed]), numpy.random.default_rng(0)
    users = numpy.arange(dataset.user_count, dtype=numpy.int32)

    def drawn(source: numpy.random.Generator, lowest: int) -> numpy.ndarray:
        return source.integers(lowest, ITEMS + 1, len(users)).astype(numpy.int32)

    return Ranks(
        users=users,
        targets=dataset.items[dataset.offsets[users] + dataset.test_position],
        history_lengths=dataset.test_position,
        unmasked=drawn(random, best),
        masked=drawn(random, best) // 2 + 1,
        baselines={name: (drawn(popular, 3), drawn(popular, 3)) for name in BASELINES},
        model=model,
        seed=seed,
        split="test",
    )


def other_baseline(ranks: Ranks, name: str) -> dict[str, tuple[numpy.ndarray, numpy.ndarray]]:
    return {**ranks.baselines, name: (ranks.baselines[name][0], ranks.masked)}


def candidates_of(ranks: Ranks) -> Candidates:
    random = numpy.random.default_rng(ranks.seed)
    items = numpy.stack([random.permutation(ITEMS)[:20] + 1 for _ in ranks.users]).astype(numpy.int32)
    items[0, 5:] = 0
    scores = numpy.where(items > 0, -numpy.arange(20.0), -numpy.inf).astype(numpy.float32)
    popular = numpy.tile(numpy.arange(1, 21, dtype=numpy.int32), (len(items), 1))
    anything = numpy.stack([random.permutation(ITEMS)[:20] + 1 for _ in ranks.users]).astype(numpy.int32)
    own = (ranks.model, ranks.seed, ranks.split)
    unmasked = {ranks.model: anything, "most-popular": popular[:, ::-1]}
    return Candidates(ranks.users, items, scores, *own, {"most-popular": popular}, unmasked)


@pytest.fixture
def ranks(dataset: SequenceDataset) -> list[Ranks]:
    return [ranks_of(dataset, *model) for model in (("sasrec", 1, 1), ("hydra4rec", 0, 5), ("sasrec", 0, 1))]


@pytest.fixture
def comparison(dataset: SequenceDataset, ranks: list[Ranks]) -> Comparison:
    return compare(dataset, gather(ranks, [candidates_of(ranks[1])]), RESAMPLES, seed=3)


def model_row(comparison: Comparison, model: str, protocol: str, metric: str) -> ModelRow:
    (row,) = [row for row in comparison.models if (row.model, row.protocol, row.metric) == (model, protocol, metric)]
    return row


def pair_rows(comparison: Comparison, protocol: str, metric: str) -> list[PairRow]:
    return [row for row in comparison.pairs if (row.protocol, row.metric) == (protocol, metric)]


def test_means_are_those_of_the_metrics(comparison: Comparison, ranks: list[Ranks]) -> None:
    of_seeds = (metric_at("ndcg", ranks[2].masked, 10), metric_at("ndcg", ranks[0].masked, 10))
    row = model_row(comparison, "sasrec", "masked", "ndcg@10")
    assert (row.seeds, row.seed_values) == ([0, 1], list(of_seeds))
    assert row.mean.value == pytest.approx(sum(of_seeds) / 2)
    assert row.seed_deviation == pytest.approx(abs(of_seeds[0] - of_seeds[1]) / 2**0.5)
    assert row.mean.low < row.mean.value < row.mean.high
    assert row.over_seeds == mean_over_seeds(of_seeds)
    alone = model_row(comparison, "hydra4rec", "unmasked", "mrr@10")
    assert alone.mean.value == pytest.approx(metric_at("mrr", ranks[1].unmasked, 10))
    assert (alone.seeds, alone.seed_deviation, alone.over_seeds) == ([0], None, None)
    for name in BASELINES:
        for protocol, of_protocol in zip(("unmasked", "masked"), ranks[0].baselines[name], strict=True):
            baseline = model_row(comparison, name, protocol, "hit@10")
            assert baseline.mean.value == pytest.approx(metric_at("hit", of_protocol, 10))
            assert baseline.mean.low < baseline.mean.value < baseline.mean.high
            assert (baseline.seeds, baseline.seed_values, baseline.over_seeds) == ([], [], None)
    assert len(comparison.models) == (2 + 4) * 2 * 3
    assert {row.model for row in comparison.slices} == {"sasrec", "hydra4rec", *BASELINES}


def test_pairs_equal_scipys(comparison: Comparison, ranks: list[Ranks]) -> None:
    sasrec = (gains_at("ndcg", ranks[0].unmasked, 10) + gains_at("ndcg", ranks[2].unmasked, 10)) / 2
    gains = {
        "hydra4rec": gains_at("ndcg", ranks[1].unmasked, 10),
        "sasrec": sasrec,
        "most-popular": gains_at("ndcg", ranks[0].baselines["most-popular"][0], 10),
    }
    rows = pair_rows(comparison, "unmasked", "ndcg@10")
    assert [(row.first, row.second) for row in rows] == [
        ("hydra4rec", "sasrec"),
        ("hydra4rec", "most-popular"),
        ("sasrec", "most-popular"),
    ]
    for row in rows:
        first, second = gains[row.first], gains[row.second]
        found = row.difference
        assert (found.value, found.n) == (pytest.approx((first - second).mean()), 81)
        theirs = scipy.stats.permutation_test(
            (first, second),
            lambda a, b, axis: (a - b).mean(axis=axis),
            permutation_type="samples",
            n_resamples=RESAMPLES,
            vectorized=True,
            random_state=numpy.random.default_rng(0),
        ).pvalue
        error = (2 * theirs * (1 - theirs) / RESAMPLES) ** 0.5  # of both sides
        assert row.permutation_p == pytest.approx(theirs, abs=4 * error + 1 / RESAMPLES)
        # At 81 users the bootstrap's test is near the permutation test, and both near the t-test.
        assert row.bootstrap_p == pytest.approx(scipy.stats.ttest_rel(first, second).pvalue, abs=0.05)
        error = (first - second).std(ddof=1) / len(first) ** 0.5
        assert (found.low, found.high) == pytest.approx(
            (found.value - 1.96 * error, found.value + 1.96 * error), abs=0.3 * error
        )
        assert found.mde == pytest.approx((1.959964 + 0.841621) * error, rel=1e-6)


def test_all_models_have_the_same_resamples(dataset: SequenceDataset) -> None:
    """A tested and an untested baseline and a model of equal ranks had intervals of other draws."""
    one = ranks_of(dataset, "sasrec", 0, 1)
    equal = dict.fromkeys(BASELINES, (one.unmasked, one.masked))
    found = compare(dataset, gather([replace(one, baselines=equal)], []), 500, seed=3)
    for protocol in ("unmasked", "masked"):
        expected = model_row(found, "sasrec", protocol, "ndcg@10").mean
        for name in BASELINES:
            mean = model_row(found, name, protocol, "ndcg@10").mean
            assert (mean.low, mean.high) == pytest.approx((expected.low, expected.high), rel=1e-12)


def test_holm_is_over_the_pairs_of_one_setting(comparison: Comparison) -> None:
    assert len(comparison.pairs) == 3 * 2 * 3
    for protocol in ("unmasked", "masked"):
        for metric in ("hit@10", "ndcg@10", "mrr@10"):
            rows = pair_rows(comparison, protocol, metric)
            assert [row.difference.p_holm for row in rows] == holm([row.permutation_p for row in rows])
            assert [row.bootstrap_p_holm for row in rows] == holm([row.bootstrap_p for row in rows])


def test_slices_add_up_to_the_whole(comparison: Comparison) -> None:
    for row in comparison.models:
        for by in ("history_length", "target_popularity"):
            parts = [
                part
                for part in comparison.slices
                if (part.model, part.protocol, part.metric, part.by) == (row.model, row.protocol, row.metric, by)
            ]
            assert len(parts) == (4 if by == "history_length" else 2)
            assert sum(part.targets for part in parts) == comparison.targets == comparison.users == 81
            assert sum(part.targets * part.mean for part in parts) == pytest.approx(81 * row.mean.value)


def test_recommendations_are_of_the_ten_best(comparison: Comparison, ranks: list[Ranks]) -> None:
    found = {(row.model, row.protocol): row for row in comparison.recommendations}
    assert list(found) == [(name, which) for which in ("unmasked", "masked") for name in ("hydra4rec", "most-popular")]
    served = candidates_of(ranks[1]).unmasked["hydra4rec"][:, :10]
    assert found["hydra4rec", "unmasked"].coverage == len(set(served.ravel().tolist())) / ITEMS
    row = found["hydra4rec", "masked"]
    best = candidates_of(ranks[1]).items[:, :10]
    assert (row.model, row.seed, row.users, row.cutoff) == ("hydra4rec", 0, 81, 10)
    assert row.coverage == len(set(best[best > 0].tolist())) / ITEMS
    counts = [(best == item).sum() for item in range(1, ITEMS + 1)]
    assert row.gini == pytest.approx(abs(numpy.subtract.outer(counts, counts)).mean() / (2 * numpy.mean(counts)))


def test_recommendations_are_judged_with_intervals_over_users(
    dataset: SequenceDataset, comparison: Comparison, ranks: list[Ranks]
) -> None:
    *served, row, baseline = comparison.recommendations
    of_row, training = ranks[1], TrainingUsers(dataset)
    given = candidates_of(of_row)
    lists = given.items[:, :10]
    popular = given.baselines["most-popular"][:, :10]
    assert (baseline.model, baseline.seed, baseline.coverage) == ("most-popular", None, 10 / ITEMS)
    assert baseline.novelty.value == pytest.approx(novelty(popular, training).mean())
    assert baseline.diversity.value == pytest.approx(diversity(popular, training).mean())
    wanted = set(zip(of_row.users.tolist(), of_row.targets.tolist(), strict=True))
    relevant = numpy.array(
        [
            [(user, item) in wanted for item in one]
            for user, one in zip(given.users.tolist(), lists.tolist(), strict=True)
        ]
    )
    for estimate, values in (
        (row.novelty, novelty(lists, training)),
        (row.serendipity, serendipity(lists, relevant, training)),
        (row.diversity, diversity(lists, training)),
    ):
        assert estimate.n == 81
        assert estimate.value == pytest.approx(values.mean())
        assert estimate.low < estimate.value < estimate.high
        assert estimate.high - estimate.low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 9, rel=0.3)
    weights = debiasing_weights(of_row.targets)
    for judged, masked in ((row, of_row.masked), (baseline, of_row.baselines["most-popular"][1])):
        gains = gains_at("ndcg", masked, 10)
        assert judged.debiased_ndcg.value == pytest.approx((gains * weights).sum() / weights.sum())
    assert row.debiased_ndcg.low < row.debiased_ndcg.value < row.debiased_ndcg.high
    assert served[0].novelty.value == pytest.approx(novelty(given.unmasked["hydra4rec"][:, :10], training).mean())
    gains = gains_at("ndcg", of_row.unmasked, 10)
    assert served[0].debiased_ndcg.value == pytest.approx((gains * weights).sum() / weights.sum())


def test_the_file_holds_all(comparison: Comparison, tmp_path: Path) -> None:
    comparison.write(tmp_path / "comparison.json")
    assert Comparison.read(tmp_path / "comparison.json") == comparison
    for text, expected in (("{}", "not a comparison.json"), ("[]", "not a comparison.json"), ("{", "not a JSON file")):
        (tmp_path / "comparison.json").write_text(text)
        with pytest.raises(InputError, match=expected):
            Comparison.read(tmp_path / "comparison.json")


def test_models_ranked_by_other_shards_are_compared_and_it_is_said(
    dataset: SequenceDataset, ranks: list[Ranks]
) -> None:
    alike = [replace(one, shards=3) for one in ranks]
    assert compare(dataset, gather(alike, []), 100, seed=3).notes == ()
    (note,) = compare(dataset, gather([*alike[:2], ranks[2]], []), 100, seed=3).notes
    assert "different numbers of shards of users (1: sasrec seed 0; 3: hydra4rec seed 0, sasrec seed 1)" in note
    assert "3 of 4,000" in note


def test_order_of_files_and_repetition_change_nothing(
    dataset: SequenceDataset, ranks: list[Ranks], comparison: Comparison
) -> None:
    assert compare(dataset, gather(ranks[::-1], [candidates_of(ranks[1])]), RESAMPLES, seed=3) == comparison
    other = compare(dataset, gather(ranks, []), RESAMPLES, seed=4)
    assert [row.mean.value for row in other.models] == [row.mean.value for row in comparison.models]
    assert [row.mean.low for row in other.models] != [row.mean.low for row in comparison.models]


def test_what_does_not_belong_is_refused(dataset: SequenceDataset, ranks: list[Ranks]) -> None:
    made = [candidates_of(one) for one in ranks]
    half = {name: getattr(ranks[1], name)[::2] for name in ("users", "targets", "history_lengths")}
    one_user = {name: values[:1] for name, values in half.items()}
    for given, recommended, expected in (
        ([], [], "no ranks were given"),
        ([ranks[0], ranks[0]], [], "two ranks files of sasrec seed 1"),
        ([*ranks[1:], replace(ranks[0], split="validation")], [], "of the validation split"),
        ([*ranks[1:], replace(ranks[0], **half)], [], r"sasrec seed 1 \(41\) and ranks of hydra4rec seed 0 \(81\)"),
        ([replace(ranks[0], **one_user)], [], "are of one user"),
        *(
            ([*ranks[1:], replace(ranks[0], baselines=other_baseline(ranks[0], name))], [], f"{name} has other ranks")
            for name in BASELINES
        ),
        (ranks, [made[0], made[1], made[0]], "two candidates files of sasrec seed 1"),
        (ranks[1:], [made[0]], "candidates of sasrec seed 1, of which no ranks"),
        (ranks, [replace(made[0], split="validation")], "candidates of sasrec seed 1 are of the validation split"),
        (ranks, [replace(made[0], users=made[0].users[1:])], "are of different users"),
    ):
        with pytest.raises(InputError, match=expected) as stopped:
            gather(given, recommended)
        assert "\n" not in str(stopped.value)


def test_users_with_several_targets_count_once_for_each_target(dataset: SequenceDataset, ranks: list[Ranks]) -> None:
    """Every target twice: the means stay, the intervals are those of the users, and parts count targets."""

    def twice(values: numpy.ndarray) -> numpy.ndarray:
        return numpy.repeat(values, 2)

    doubled = [
        replace(
            one,
            users=twice(one.users),
            targets=twice(one.targets),
            history_lengths=twice(one.history_lengths),
            unmasked=twice(one.unmasked),
            masked=twice(one.masked),
            baselines={name: (twice(first), twice(second)) for name, (first, second) in one.baselines.items()},
        )
        for one in ranks
    ]
    several = compare(dataset, gather(doubled, [candidates_of(ranks[1])]), RESAMPLES, seed=3)
    single = compare(dataset, gather(ranks, []), RESAMPLES, seed=3)
    assert (several.users, several.targets) == (81, 162)
    for ours, theirs in zip(several.models, single.models, strict=True):
        assert ours.mean.value == pytest.approx(theirs.mean.value)
        assert (ours.mean.low, ours.mean.high) == pytest.approx((theirs.mean.low, theirs.mean.high), abs=0.02)
    for ours, theirs in zip(several.pairs, single.pairs, strict=True):
        assert ours.difference.value == pytest.approx(theirs.difference.value)
        assert ours.difference.mde == pytest.approx(theirs.difference.mde)
        assert ours.permutation_p == pytest.approx(theirs.permutation_p, abs=0.04)
    for ours, theirs in zip(several.slices, single.slices, strict=True):
        assert (ours.targets, ours.mean) == (2 * theirs.targets, pytest.approx(theirs.mean))
        assert ours.standard_error == pytest.approx(theirs.standard_error)
    other = replace(doubled[1], history_lengths=doubled[1].history_lengths + 1)
    with pytest.raises(InputError, match="ranks of sasrec seed 0 and of hydra4rec seed 0 are of different targets"):
        gather([doubled[0], other, doubled[2]], [])
