"""Preference pairs: known pairs of hand-made users, and nothing held out decides any of them."""

from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import numpy
import pyarrow
import pyarrow.parquet
import pytest
import torch

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.preferences import Pairs, read_pairs, write_pairs
from ssm4rec.artifacts.ranks import FullRanking
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.llm.lightfm_worst import score as lightfm_score
from ssm4rec.llm.lightfm_worst import train_lightfm, training_matrix, worst_unseen_items
from ssm4rec.llm.preferences import lightfm_pairs, rating_pairs, retriever_pairs
from ssm4rec.runtime.errors import InputError

NONE = float("nan")


def dataset_of(
    sequences: list[list[int]], splits: list[tuple[int, int, int]], item_count: int, *, successive: bool = False
) -> SequenceDataset:
    """Put users together; a split is train_length, validation_position and test_position.

    Successive targets reach from there to the test period, or to the end.
    """
    lengths = [len(sequence) for sequence in sequences]
    train, validation, test = numpy.array(splits, dtype=numpy.int32).T
    items = numpy.concatenate(sequences).astype(numpy.int32)
    offsets = numpy.cumsum([0, *lengths]).astype(numpy.int64)
    ends = numpy.where(test >= 0, test, lengths), numpy.array(lengths)
    numbers = [
        numpy.where(first < 0, 0, end - first if successive else 1).astype(numpy.int32)
        for first, end in zip((validation, test), ends, strict=True)
    ]
    return SequenceDataset("toy", "f" * 64, item_count, items, offsets, train, validation, numbers[0], test, numbers[1])


def leave_one_out(*sequences: list[int], item_count: int = 9) -> SequenceDataset:
    splits = [(n - 2, n - 2, n - 1) if (n := len(sequence)) >= 3 else (n, -1, -1) for sequence in sequences]
    return dataset_of(list(sequences), splits, item_count)


def random_dataset(seed: int) -> SequenceDataset:
    """Users of all lengths who meet items again, with splits as leave-one-out and as global-time make them."""
    random = numpy.random.default_rng(seed)
    item_count = int(random.integers(4, 12))
    sequences, splits = [], []
    for _ in range(60):
        length = int(random.integers(1, 12))
        sequences.append(random.integers(1, item_count + 1, size=length).tolist())
        train = int(random.integers(0, length + 1))
        in_validation = 0 < train < length and random.random() < 0.7
        first_test = train + int(random.integers(0, length - train + 1))
        in_test = first_test < length and first_test > 0 and (not in_validation or first_test > train)
        splits.append((train, train if in_validation else -1, first_test if in_test else -1))
    return dataset_of(sequences, splits, item_count, successive=seed % 2 == 1)


def ratings_of(*users: list[float]) -> "numpy.ndarray":
    return numpy.concatenate(users).astype(numpy.float32)


def score(users: "numpy.ndarray", items: "numpy.ndarray") -> "numpy.ndarray":
    return (users + items / 100).astype(numpy.float32)


def test_pairs_by_rating() -> None:
    dataset = leave_one_out(
        [1, 2, 3, 8, 9],  # 3 is rated higher than 2, which came before it
        [1, 2, 3, 4, 8, 9],  # 3 is rated higher than 4, which came after it
        [1, 2, 3, 8, 9],  # a tie
        [1, 2, 2, 8, 9],  # the same item, rated anew
        [1, 2, 3, 8, 9],  # one rating is missing
        [1, 2, 3, 9, 2],  # the loser returns as the test target: no matter
        [1, 2, 3, 3, 9],  # the winner returns as the validation target: no matter
        [1, 2, 8, 9],  # no history is left
        [1, 2],  # likewise, and in no split
        [4, 5, 6, 4, 7],  # the history may hold the target
    )
    ratings = ratings_of(
        [1, 2, 5, 1, 1], [1, 1, 4, 3.5, 1, 1], [1, 3, 3, 5, 1], [1, 2, 4, 1, 1], [1, NONE, 4, 5, 5],
        [1, 2, 4, 1, 1], [1, 2, 4, 1, 1], [5, 1, 1, 1], [5, 1], [1, 5, 2, 3, 3],
    )  # fmt: skip
    pairs, counts = rating_pairs(dataset, ratings)
    assert pairs.users.tolist() == [0, 1, 5, 6, 9]
    assert list(zip(pairs.winners, pairs.losers, strict=True)) == [(3, 2), (3, 4), (3, 2), (3, 2), (5, 6)]
    ratings_of_pairs = list(zip(pairs.winner_ratings, pairs.loser_ratings, strict=True))
    assert ratings_of_pairs == [(5, 2), (4, 3.5), (4, 2), (4, 2), (5, 2)]
    assert pairs.history_lengths.tolist() == [1, 2, 1, 1, 1]
    assert pairs.origins.tolist() == ["ratings"] * 5
    assert numpy.isnan(pairs.winner_scores).all()
    assert numpy.isnan(pairs.loser_scores).all()
    assert counts == {"pairs": 5, "users_too_short": 2, "unrated": 1, "ties": 2}


def test_data_without_ratings_have_no_pair_by_rating() -> None:
    dataset = leave_one_out([1, 2, 3, 4, 5], [1, 2, 3])
    pairs, counts = rating_pairs(dataset, ratings_of([NONE] * 8))
    assert len(pairs) == 0
    assert counts == {"pairs": 0, "users_too_short": 1, "unrated": 1, "ties": 0}


def test_pairs_by_lightfm() -> None:
    dataset = leave_one_out(
        [1, 2, 8, 9],
        [3, 4, 5, 8, 9],
        [1, 2, 2, 9],  # the winner returns as the validation target: no matter
        [1, 2, 9, 2],  # ... as the test target
        [2, 8, 9],  # no history is left
        [1, 2],  # in no split, but for training there is a pair
        [1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2],  # has had everything
    )
    pairs, counts = lightfm_pairs(dataset, numpy.array([7, 7, 6, 6, 6, 6, 0], dtype=numpy.int32), score)
    assert pairs.users.tolist() == [0, 1, 2, 3, 5]
    assert list(zip(pairs.winners, pairs.losers, strict=True)) == [(2, 7), (5, 7), (2, 6), (2, 6), (2, 6)]
    assert pairs.history_lengths.tolist() == [1, 2, 1, 1, 1]
    assert pairs.origins.tolist() == ["lightfm"] * 5
    assert pairs.winner_scores == pytest.approx([0.02, 1.05, 2.02, 3.02, 5.02])
    assert pairs.loser_scores == pytest.approx([0.07, 1.07, 2.06, 3.06, 5.06])
    assert numpy.isnan(pairs.winner_ratings).all()
    assert numpy.isnan(pairs.loser_ratings).all()
    assert counts == {
        "pairs": 5, "users_too_short": 1, "nothing_unseen": 1, "distinct_losers": 2,
    }  # fmt: skip


def pairs_by_definition(dataset: SequenceDataset, ratings: "numpy.ndarray", worst: "numpy.ndarray") -> list[tuple]:
    """Both parts written as a loop over users: (user, winner, loser, history length, origin)."""
    found: dict[str, list[tuple]] = {"ratings": [], "lightfm": []}
    for user in range(dataset.user_count):
        begin, train = dataset.offsets[user], dataset.train_length[user]
        sequence = dataset.items[begin : dataset.offsets[user + 1]].tolist()
        rated = ratings[begin : dataset.offsets[user + 1]].tolist()
        if train >= 3:
            (low, loser), (high, winner) = sorted(
                zip(rated[train - 2 : train], sequence[train - 2 : train], strict=True)
            )
            if low < high and winner != loser:
                found["ratings"].append((user, winner, loser, train - 2, "ratings"))
        if train >= 2 and worst[user]:
            found["lightfm"].append((user, sequence[train - 1], worst[user], train - 1, "lightfm"))
    return found["ratings"] + found["lightfm"]


@pytest.mark.parametrize("seed", range(20))
def test_pairs_are_those_of_the_definition(seed: int) -> None:
    dataset = random_dataset(seed)
    random = numpy.random.default_rng(seed)
    ratings = random.choice(numpy.array([1, 2, 3, NONE], dtype=numpy.float32), size=len(dataset.items))
    trained = [
        dataset.items[first:][:length].tolist()
        for first, length in zip(dataset.offsets[:-1], dataset.train_length, strict=True)
    ]
    unseen = [sorted(set(range(1, dataset.item_count + 1)) - set(sequence)) or [0] for sequence in trained]
    worst = numpy.array([random.choice(items) for items in unseen], dtype=numpy.int32)

    by_rating, rating_counts = rating_pairs(dataset, ratings)
    by_lightfm, lightfm_counts = lightfm_pairs(dataset, worst, score)
    pairs = by_rating + by_lightfm
    columns = (pairs.users, pairs.winners, pairs.losers, pairs.history_lengths, pairs.origins)
    rows = list(zip(*(column.tolist() for column in columns), strict=True))
    assert rows == pairs_by_definition(dataset, ratings, worst)
    assert len(rows) > 10
    for user, winner, loser, history_length, origin in rows:
        assert winner in trained[user]
        assert winner != loser
        assert 1 <= history_length < len(trained[user])
        assert (loser in trained[user]) == (origin == "ratings")

    assert sum(rating_counts.values()) == dataset.user_count
    del lightfm_counts["distinct_losers"]
    assert sum(lightfm_counts.values()) == dataset.user_count


def best_by_popularity(dataset: SequenceDataset, count: int) -> FullRanking:
    """Rank for each user's last training item by how often items were trained on, the later item first of equals."""
    popularity = torch.from_numpy(dataset.training_counts()[1:]) + torch.arange(dataset.item_count) / 1e6
    return full_ranking(
        lambda items, lengths, seen: popularity.float().repeat(len(lengths), 1),
        dataset.training_alone(), "validation", 5, torch.device("cpu"), count,
    )  # fmt: skip


@pytest.mark.parametrize("seed", range(8))
def test_pairs_by_the_retriever(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its best candidates without the items of training, each comes as often as any other."""
    monkeypatch.setattr("ssm4rec.llm.preferences.CANDIDATES_PER_USER", 3)
    dataset = random_dataset(seed)
    popularity = dataset.training_counts()
    candidates: dict[int, list[int]] = {}
    for user in numpy.flatnonzero(dataset.train_length >= 2).tolist():
        trained = dataset.items[dataset.offsets[user] :][: dataset.train_length[user]].tolist()
        unseen = [item for item in range(1, dataset.item_count + 1) if item not in trained]
        candidates[user] = sorted(unseen, key=lambda item: (popularity[item], item), reverse=True)[:3]
    ranking = best_by_popularity(dataset, 4)
    drawn: dict[int, list[int]] = {}
    for draw in range(60):
        pairs, counts = retriever_pairs(dataset, ranking, draw)
        for user, winner, loser, length, by in zip(
            pairs.users.tolist(),
            pairs.winners,
            pairs.losers.tolist(),
            pairs.history_lengths,
            pairs.origins,
            strict=True,
        ):
            assert (length, by) == (dataset.train_length[user] - 1, "retriever")
            assert winner == dataset.items[dataset.offsets[user] + length]
            drawn.setdefault(user, []).append(loser)
        assert counts["pairs"] + counts["users_too_short"] + counts["nothing_unseen"] == dataset.user_count
    assert {user: sorted(set(losers)) for user, losers in drawn.items()} == {
        user: sorted(items) for user, items in candidates.items() if items
    }
    thirds = numpy.concatenate([numpy.bincount([candidates[user].index(loser) for loser in losers], minlength=3)
                                for user, losers in drawn.items() if len(candidates[user]) == 3])  # fmt: skip
    assert abs(thirds.mean() - 20) < 1e-9
    assert thirds.std() == pytest.approx((60 * 2 / 9) ** 0.5, rel=0.25)


@pytest.mark.parametrize("seed", range(6))
def test_held_out_items_decide_nothing(seed: int) -> None:
    """With other validation and test items, and other ratings of these, all pairs are the same to the last digit."""
    dataset = random_dataset(seed)
    random = numpy.random.default_rng(seed)
    others = random.integers(1, dataset.item_count + 1, size=len(dataset.items)).astype(numpy.int32)
    ratings = random.integers(1, 4, size=len(dataset.items)).astype(numpy.float32)
    trained = dataset.trained()
    changed = replace(dataset, items=numpy.where(trained, dataset.items, others))
    assert (changed.items != dataset.items).sum() > 50

    def mined(data: SequenceDataset, rated: "numpy.ndarray") -> Pairs:
        model = train_lightfm(training_matrix(data), 4, 2, seed=0)
        by_lightfm, _ = lightfm_pairs(data, worst_unseen_items(model, data), partial(lightfm_score, model))
        by_retriever, _ = retriever_pairs(data, best_by_popularity(data, 6), seed=0)
        return rating_pairs(data, rated)[0] + by_lightfm + by_retriever

    one, other = mined(dataset, ratings), mined(changed, numpy.where(trained, ratings, 6 - ratings))
    assert {*one.origins} == {"ratings", "lightfm", "retriever"}
    for field in fields(Pairs):
        numpy.testing.assert_array_equal(getattr(one, field.name), getattr(other, field.name))
    # So a target may lose: that none does would tell what the targets are.
    targets = [dataset.items[dataset.offsets[user] :][dataset.train_length[user] :] for user in one.users]
    assert any(loser in held_out for loser, held_out in zip(one.losers, targets, strict=True))


@pytest.fixture
def dataset(write_dataset: "object") -> SequenceDataset:
    return read_sequences(write_dataset([[1, 2, 3, 8, 9], [1, 2, 3, 4, 8, 9], [5, 4, 9], [6, 7]]))


@pytest.fixture
def path(dataset: SequenceDataset, tmp_path: Path) -> Path:
    """A file of two pairs by ratings, of users 0 and 1, and three of LightFM's, of users 0, 1 and 3."""
    ratings = numpy.arange(len(dataset.items), dtype=numpy.float32)
    by_lightfm, _ = lightfm_pairs(dataset, numpy.array([7, 7, 6, 9], dtype=numpy.int32), score)
    write_pairs(tmp_path / "pairs.parquet", dataset, rating_pairs(dataset, ratings)[0] + by_lightfm)
    return tmp_path / "pairs.parquet"


def test_pairs_come_back(dataset: SequenceDataset, path: Path) -> None:
    rows = pyarrow.parquet.read_table(path).to_pylist()
    assert rows[1] == {
        "user": 1, "winner": 4, "loser": 3, "history_length": 2, "origin": "ratings", "winner_rating": 8.0,
        "loser_rating": 7.0, "winner_score": None, "loser_score": None,
    }  # fmt: skip
    assert rows[4] == {
        "user": 3, "winner": 7, "loser": 9, "history_length": 1, "origin": "lightfm", "winner_rating": None,
        "loser_rating": None, "winner_score": numpy.float32(3.07), "loser_score": numpy.float32(3.09),
    }  # fmt: skip
    pairs = read_pairs(path, dataset)
    assert pairs.users.tolist() == [0, 1, 0, 1, 3]
    assert pairs.winners.tolist() == [3, 4, 3, 4, 7]
    assert pairs.losers.tolist() == [2, 3, 7, 7, 9]
    assert pairs.history_lengths.tolist() == [1, 2, 2, 3, 1]
    assert pairs.origins.tolist() == ["ratings"] * 2 + ["lightfm"] * 3
    numpy.testing.assert_array_equal(pairs.winner_ratings, [2, 8, NONE, NONE, NONE])
    numpy.testing.assert_array_equal(pairs.loser_ratings, [1, 7, NONE, NONE, NONE])
    numpy.testing.assert_allclose(pairs.winner_scores, [NONE, NONE, 0.03, 1.04, 3.07], rtol=1e-6)
    numpy.testing.assert_allclose(pairs.loser_scores, [NONE, NONE, 0.07, 1.07, 3.09], rtol=1e-6)


def test_no_pairs_are_not_written(dataset: SequenceDataset, tmp_path: Path) -> None:
    none, _ = lightfm_pairs(dataset, numpy.zeros(4, dtype=numpy.int32), score)
    with pytest.raises(InputError, match="data set toy: no preference pair"):
        write_pairs(tmp_path / "none.parquet", dataset, none)
    assert not (tmp_path / "none.parquet").exists()


def test_files_at_fault_are_refused(
    dataset: SequenceDataset, path: Path, write_dataset: "object", tmp_path: Path
) -> None:
    table = pyarrow.parquet.read_table(path)

    def refused(expected: str, changed: pyarrow.Table | None = None) -> None:
        if changed is not None:
            pyarrow.parquet.write_table(changed, path)
        with pytest.raises(InputError) as stopped:
            read_pairs(path, dataset)
        assert expected in str(stopped.value)
        assert "\n" not in str(stopped.value)

    def with_row(row: int = 1, **values: object) -> pyarrow.Table:
        rows = table.to_pylist()
        rows[row] = rows[row] | values
        schema = pyarrow.schema([field.with_nullable(True) for field in table.schema], table.schema.metadata)
        return pyarrow.Table.from_pylist(rows, schema=schema)

    refused("empty, not the preference pairs of a data set; run mine_preferences again", table.slice(0, 0))
    refused("not the preference pairs of a data set, it has no column 'loser'", table.drop_columns("loser"))
    refused("of another data set, unnamed (no fingerprint), than toy", table.replace_schema_metadata({}))
    refused("column user is not int32", table.set_column(0, "user", [["a"] * 5]))
    refused("column winner has missing values", with_row(winner=None))
    refused("column origin has missing values", with_row(origin=None))
    refused("users are not always in 0..3", with_row(user=4))
    refused("users are not always in 0..3", with_row(user=-1))
    refused("row 1 has an item outside 1..9", with_row(winner=10))
    refused("row 1 has an item outside 1..9", with_row(loser=0))
    refused("row 1 has the same item as winner and loser", with_row(loser=4))
    refused("row 1 has a history that is empty", with_row(history_length=0))
    refused("row 1 has a history that is empty or not of the training part", with_row(history_length=4))
    refused("row 1 has an origin other than ratings, lightfm, retriever", with_row(origin="guess"))
    refused("row 1 has a winner that is not one of the next two training items", with_row(winner=8))
    refused("row 1 has a winner that is not one of the next two training items", with_row(winner=1))
    # By ratings the loser is of the last two training items; of the other origins it is none of training.
    refused("row 1 has a loser, item 1, from the training items of user 1", with_row(loser=1))
    refused("row 4 has a loser, item 6, from the training items of user 3", with_row(4, winner=7, loser=6))
    refused("row 3 has a loser, item 3, from the training items of user 1", with_row(3, loser=3))
    refused("row 5 has a pair that an earlier row has", pyarrow.concat_tables([table, table]))
    pyarrow.parquet.write_table(table, path)
    other = read_sequences(write_dataset([[1, 2, 3]] * 9, name="other", folder="other"))
    with pytest.raises(InputError, match=r"pairs of another data set, toy \(.*\), than other "):
        read_pairs(path, other)
    path.write_bytes(path.read_bytes()[:200])
    refused("not a readable Parquet file")
    path.unlink()
    refused("no such file; run mine_preferences first")
