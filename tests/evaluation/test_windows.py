"""Windows compared: differences worked out by hand, the users who are cut, what does not belong is refused."""

from dataclasses import replace

import numpy
import pytest

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.evaluations import EvaluationSummary, ResultRow
from ssm4rec.artifacts.names import BASELINES
from ssm4rec.artifacts.ranks import Ranks
from ssm4rec.evaluation.metrics import all_metrics
from ssm4rec.evaluation.statistics import holm
from ssm4rec.evaluation.windows import WindowComparison, WindowPair, check_ranks, compare_windows, label
from ssm4rec.runtime.errors import InputError

SHORT, LONG = 5, 30
"""Items before the target, of 20 users each."""
RESAMPLES = 2000


@pytest.fixture
def dataset(write_dataset: "object") -> SequenceDataset:
    lengths = [SHORT + 1, LONG + 1] * 20
    return read_sequences(
        write_dataset([[(user + step) % 40 + 1 for step in range(n)] for user, n in enumerate(lengths)])
    )


def ranks_of(dataset: SequenceDataset, model: str, of_long: int, seed: int = 0) -> Ranks:
    """Return ranks of 1 for users with short histories and of ``of_long`` for the others, one more if masked."""
    users = numpy.arange(dataset.user_count, dtype=numpy.int32)
    ranks = numpy.where(dataset.test_position > SHORT, of_long, 1).astype(numpy.int32)
    third = numpy.full_like(ranks, 3)
    baselines = dict.fromkeys(BASELINES, (third, third))
    targets = dataset.items[dataset.offsets[users] + dataset.test_position]
    return Ranks(users, targets, dataset.test_position, ranks, ranks + 1, baselines, model, seed, "test")


def summary(ranks: Ranks, window: int) -> EvaluationSummary:
    rows = tuple(
        ResultRow("toy", ranks.model, ranks.seed, "test", protocol, metric, value)
        for protocol, found in (("unmasked", ranks.unmasked), ("masked", ranks.masked))
        for metric, value in all_metrics(found).items()
    )
    recipe = {"model": {"max_length": window}, "training": {}}
    training = {
        "epochs": 2, "best_epoch": 1, "stopped": "epochs", "validation_ndcg@10": 0.1,
        "cpu_seconds": 3.5, "device": "cpu",
    }  # fmt: skip
    return EvaluationSummary(
        "toy", "f", ranks.model, ranks.seed, "smoke", "test", 40, 40, 40, 9, 5, training, recipe, rows
    )  # fmt: skip


def compared(dataset: SequenceDataset) -> WindowComparison:
    """SASRec gains from a window of 10 on, mamba4rec from 5 to 10 more, to the same."""
    ranks = {("sasrec", 5): 3, ("sasrec", 10): 1, ("mamba4rec", 5): 40, ("mamba4rec", 10): 1}
    evaluated = [(model, window, ranks_of(dataset, model, rank)) for (model, window), rank in ranks.items()]
    return compare_windows(dataset, evaluated, "sasrec", RESAMPLES, seed=0)


def only(pairs: tuple[WindowPair, ...], model: str, window: int, protocol: str = "unmasked") -> WindowPair:
    (pair,) = [one for one in pairs if (one.model, one.window, one.protocol) == (model, window, protocol)]
    return pair


def test_differences_are_those_worked_out_by_hand(dataset: SequenceDataset) -> None:
    found = compared(dataset)
    assert found.windows == {"sasrec": (5, 10), "mamba4rec": (5, 10)}
    sasrec, mamba = (only(found.to_longest, model, 5) for model in ("sasrec", "mamba4rec"))
    # Rank 3 is worth 1 / log2(4) = 1 / 2, rank 40 nothing; half of the users are concerned, and those are cut.
    assert (sasrec.all_users.value, mamba.all_users.value) == (pytest.approx(-1 / 4), pytest.approx(-1 / 2))
    for pair, of_cut in ((sasrec, -1 / 2), (mamba, -1.0)):
        assert (pair.other, pair.other_window, pair.cut_users) == (pair.model, 10, 20)
        assert pair.of_cut_users
        assert (pair.of_cut_users.value, pair.of_cut_users.low, pair.of_cut_users.high) == pytest.approx([of_cut] * 3)
        assert pair.all_users.low < pair.all_users.value < pair.all_users.high < 0
    rival = only(found.to_baseline, "mamba4rec", 5)
    assert (rival.all_users.value, rival.of_cut_users) == (pytest.approx(-1 / 4), None)
    assert only(found.to_baseline, "mamba4rec", 10).all_users.value == 0
    assert only(found.to_baseline, "mamba4rec", 10).all_users.p_holm == 1
    masked = only(found.to_longest, "mamba4rec", 5, "masked")
    assert masked.all_users.value == pytest.approx(-1 / 2 / numpy.log2(3))  # less a rank of 2


def test_p_values_are_corrected_for_the_pairs_of_their_kind(dataset: SequenceDataset) -> None:
    found = compared(dataset)
    permuted = {
        frozenset((row.first, row.second)): row.permutation_p
        for row in found.comparison.pairs
        if (row.protocol, row.metric) == ("unmasked", "ndcg@10")
    }
    for pairs in (found.to_longest, found.to_baseline):
        own = [pair for pair in pairs if pair.protocol == "unmasked"]
        names = [frozenset((label(pair.model, pair.window), label(pair.other, pair.other_window))) for pair in own]
        assert [pair.all_users.p_holm for pair in own] == holm([permuted[name] for name in names])
    assert only(found.to_longest, "sasrec", 5).all_users.p_holm < 0.01  # 20 users of 20 lose


def test_seeds_of_one_window_are_averaged(dataset: SequenceDataset) -> None:
    evaluated = [
        ("sasrec", window, ranks_of(dataset, "sasrec", rank, seed))
        for window, rank, seed in ((5, 3, 0), (5, 40, 1), (10, 1, 0), (10, 1, 1))
    ]
    (pair, _) = compare_windows(dataset, evaluated, "sasrec", RESAMPLES, seed=0).to_longest
    assert pair.all_users.value == pytest.approx((1 / 2 + 0) / 2 / 2 - 1 / 2)


def test_nobody_is_cut_by_a_window_as_long_as_the_history(dataset: SequenceDataset) -> None:
    evaluated = [("lrurec", window, ranks_of(dataset, "lrurec", 3)) for window in (LONG, 99)]
    for pair in compare_windows(dataset, evaluated, "sasrec", RESAMPLES, seed=0).to_longest:
        assert (pair.cut_users, pair.of_cut_users, pair.all_users.value, pair.all_users.p_holm) == (0, None, 0, 1)


def test_what_does_not_belong_is_refused(dataset: SequenceDataset) -> None:
    ranks = ranks_of(dataset, "sasrec", 3)
    with pytest.raises(InputError, match="no model was evaluated with two windows"):
        compare_windows(dataset, [("sasrec", 5, ranks)], "sasrec", RESAMPLES, seed=0)
    with pytest.raises(InputError, match="two ranks files of sasrec, 5 items seed 0"):
        compare_windows(dataset, [("sasrec", 5, ranks)] * 2, "sasrec", RESAMPLES, seed=0)
    check_ranks(summary(ranks, 5), ranks)
    for other in (ranks_of(dataset, "sasrec", 4), replace(ranks, seed=1), replace(ranks, model="lrurec")):
        with pytest.raises(InputError, match=r"given for sasrec, 5 items, seed 0, are not those of its metrics\.json"):
            check_ranks(summary(ranks, 5), other)
