"""LightFM's worst items against its own predictions, what it is trained on, that it learns, and its seed."""

from dataclasses import replace

import numpy
import pytest
import scipy.sparse

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.llm import lightfm_worst
from ssm4rec.llm.lightfm_worst import score, train_lightfm, training_auc, training_matrix, worst_unseen_items

CIRCLES = 3


def circles(seed: int, users: int = 90, item_count: int = 30) -> SequenceDataset:
    """Users who choose among every third item, each from one of three circles, and meet items again."""
    random = numpy.random.default_rng(seed)
    sequences = [
        1 + user % CIRCLES + CIRCLES * random.integers(0, item_count // CIRCLES, size=random.integers(1, 16))
        for user in range(users)
    ]
    lengths = numpy.array([len(sequence) for sequence in sequences], dtype=numpy.int32)
    held_out = lengths >= 3
    return SequenceDataset(
        name="circles",
        fingerprint="f" * 64,
        item_count=item_count,
        items=numpy.concatenate(sequences).astype(numpy.int32),
        offsets=numpy.concatenate([[0], lengths.cumsum()]).astype(numpy.int64),
        train_length=numpy.where(held_out, lengths - 2, lengths).astype(numpy.int32),
        validation_position=numpy.where(held_out, lengths - 2, -1).astype(numpy.int32),
        validation_targets=held_out.astype(numpy.int32),
        test_position=numpy.where(held_out, lengths - 1, -1).astype(numpy.int32),
        test_targets=held_out.astype(numpy.int32),
    )


def sequence(dataset: SequenceDataset, user: int) -> list[int]:
    return dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]].tolist()


def worst_by_prediction(model: object, dataset: SequenceDataset, excluded: list[set[int]]) -> list[int]:
    """Ask LightFM itself for every item of every user."""
    worst = []
    for user in range(dataset.user_count):
        unseen = [item for item in range(1, dataset.item_count + 1) if item not in excluded[user]]
        scores = [model.predict(user, [item - 1])[0] for item in unseen]
        worst.append(unseen[int(numpy.argmin(scores))] if unseen else 0)
    return worst


def with_other_held_out_items(dataset: SequenceDataset) -> SequenceDataset:
    items = dataset.items.copy()
    for user, (start, train) in enumerate(zip(dataset.offsets[:-1], dataset.train_length, strict=True)):
        place = slice(start + train, dataset.offsets[user + 1])
        items[place] = dataset.item_count - items[place] + 1
    return replace(dataset, items=items)


def test_trains_on_training_items_only() -> None:
    dataset = circles(0)
    wanted = numpy.zeros((dataset.user_count, dataset.item_count))
    for user in range(dataset.user_count):
        for item in sequence(dataset, user)[: dataset.train_length[user]]:
            wanted[user, item - 1] = 1
    assert wanted.sum() < dataset.train_length.sum(), "some items are had twice"
    assert (training_matrix(dataset).toarray() == wanted).all()
    changed = with_other_held_out_items(dataset)
    assert (changed.items != dataset.items).sum() > dataset.user_count
    assert (training_matrix(changed).toarray() == wanted).all()


@pytest.mark.parametrize("block_cells", [1, 100, 2**22])
def test_worst_items_are_those_of_lightfm(block_cells: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the size of a block of users."""
    monkeypatch.setattr(lightfm_worst, "_SCORE_CELLS", block_cells)
    dataset = circles(1, users=40, item_count=12)
    everything = numpy.arange(1, 13, dtype=numpy.int32)
    dataset = replace(
        dataset,
        items=numpy.concatenate([dataset.items, everything]),
        offsets=numpy.append(dataset.offsets, len(dataset.items) + 12),
        train_length=numpy.append(dataset.train_length, numpy.int32(12)),
        validation_position=numpy.append(dataset.validation_position, numpy.int32(-1)),
        validation_targets=numpy.append(dataset.validation_targets, numpy.int32(0)),
        test_position=numpy.append(dataset.test_position, numpy.int32(-1)),
        test_targets=numpy.append(dataset.test_targets, numpy.int32(0)),
    )
    model = train_lightfm(training_matrix(dataset), components=6, epochs=5, seed=0)
    worst = worst_unseen_items(model, dataset)
    had = [set(sequence(dataset, user)[: dataset.train_length[user]]) for user in range(dataset.user_count)]
    assert worst.dtype == numpy.int32
    assert worst.tolist() == worst_by_prediction(model, dataset, had)
    assert worst[-1] == 0, "the last user has had everything"
    users = numpy.flatnonzero(worst)
    scores = [model.predict(int(user), [int(worst[user]) - 1])[0] for user in users]
    assert score(model, users, worst[users]).tolist() == scores
    assert len(score(model, users[:0], worst[:0])) == 0


def test_held_out_items_decide_nothing() -> None:
    dataset = circles(2)
    changed = with_other_held_out_items(dataset)
    models = [train_lightfm(training_matrix(each), 8, 3, seed=4) for each in (dataset, changed)]
    assert (models[0].user_embeddings == models[1].user_embeddings).all()
    assert (models[0].item_biases == models[1].item_biases).all()
    assert (worst_unseen_items(models[0], dataset) == worst_unseen_items(models[0], changed)).all()


def test_lightfm_learns_who_belongs_where() -> None:
    dataset = circles(3)
    matrix = training_matrix(dataset)
    taught, hardly = (train_lightfm(matrix, 8, epochs, seed=0) for epochs in (40, 1))
    assert training_auc(taught, matrix, seed=0) > 0.9 > 0.75 > training_auc(hardly, matrix, seed=0)
    users = numpy.arange(dataset.user_count)
    other_circle = (worst_unseen_items(taught, dataset) - 1) % CIRCLES != users % CIRCLES
    assert other_circle.mean() > 0.9, "the worst items are of a circle that the user never chose from"


def test_auc_is_the_share_of_pairs_in_order() -> None:
    dataset = circles(4, users=20)
    matrix = training_matrix(dataset)
    model = train_lightfm(matrix, 4, 2, seed=1)
    shares = []
    for user in range(dataset.user_count):
        training = {*sequence(dataset, user)[: dataset.train_length[user]]}
        scores = model.predict(user, list(range(dataset.item_count)))
        others = [value for item, value in enumerate(scores, 1) if item not in training]
        if training:
            shares.append(numpy.mean([scores[item - 1] > value for item in training for value in others]))
    assert training_auc(model, matrix, seed=0) == pytest.approx(numpy.mean(shares), abs=1e-6)


def test_a_seed_decides_everything() -> None:
    dataset = circles(5)
    matrix = training_matrix(dataset)
    first, again, another = (train_lightfm(matrix, 8, 4, seed) for seed in (7, 7, 8))
    for name in ("user_embeddings", "item_embeddings", "user_biases", "item_biases"):
        assert (getattr(first, name) == getattr(again, name)).all()
        assert (getattr(first, name) != getattr(another, name)).any()
    assert training_auc(first, matrix, 7) == training_auc(again, matrix, 7)


def test_epochs_one_by_one_are_lightfms_own_training() -> None:
    from lightfm import LightFM

    matrix = training_matrix(circles(6))
    whole = LightFM(no_components=8, loss="warp", random_state=3).fit(matrix, epochs=5)
    assert (train_lightfm(matrix, 8, 5, seed=3).item_embeddings == whole.item_embeddings).all()
    assert isinstance(matrix, scipy.sparse.csr_matrix)
