"""LightFM's worst recommendation for every user: the only module that imports lightfm (the fork lightfm-next).

LightFM factorises who had what: score(u, i) = <p_u, q_i> + b_u + b_i, learned from training interactions against
sampled negatives with the WARP loss (lyst/lightfm:lightfm/_lightfm_fast.pyx.template, ``fit_warp``). It runs in one
thread: several update the same weights without locks, and no seed then decides the result.

Shapes: U users, V items, B users of a block, D width of the embeddings.
"""

from typing import Final

import numpy
import scipy.sparse
from lightfm import LightFM
from lightfm.evaluation import auc_score
from tqdm import tqdm

from ssm4rec.artifacts.dataset import Float32s, Int32s, Int64s, SequenceDataset

_SCORE_CELLS: Final = 2**22
"""Scores of a block of users, 16 MiB of float32, whatever the catalog's size."""
_AUC_USERS: Final = 500


def training_matrix(dataset: SequenceDataset) -> scipy.sparse.csr_matrix:
    """Return who had what in training, (U, V) float32: 1 at user u and item i + 1, however often, else nothing."""
    in_training = dataset.trained()
    users = numpy.repeat(numpy.arange(dataset.user_count), numpy.diff(dataset.offsets))[in_training]
    columns = dataset.items[in_training] - 1
    ones = numpy.ones(len(users), dtype=numpy.float32)
    matrix = scipy.sparse.csr_matrix((ones, (users, columns)), shape=(dataset.user_count, dataset.item_count))
    matrix.data[:] = 1  # an item had twice was summed to 2
    return matrix


def train_lightfm(matrix: scipy.sparse.csr_matrix, components: int, epochs: int, seed: int) -> LightFM:
    """Train LightFM with the WARP loss; the same arguments give the same weights on the same machine.

    The seed, below 2**32, decides the first weights, the order of the interactions and the negatives.
    """
    model = LightFM(no_components=components, loss="warp", random_state=seed)
    for _ in tqdm(range(epochs), desc="LightFM", unit=" epochs", disable=None):
        model.fit_partial(matrix, epochs=1, num_threads=1)
    return model


def training_auc(model: LightFM, matrix: scipy.sparse.csr_matrix, seed: int) -> float | None:
    """Return how often LightFM puts a training item over another item: 0.5 where it has learned nothing, 1 at best.

    The mean over at most 500 users, drawn by ``seed`` from those with training items and other ones; None if there is
    no such user.
    """
    had = numpy.diff(matrix.indptr)
    active = numpy.flatnonzero((had > 0) & (had < matrix.shape[1]))
    if not len(active):
        return None
    users = numpy.random.default_rng(seed).permutation(active)[:_AUC_USERS]
    drawn = scipy.sparse.identity(matrix.shape[0], dtype=numpy.float32, format="csr")[users]
    return float(auc_score(model, matrix[users], user_features=drawn).mean())


def worst_unseen_items(model: LightFM, dataset: SequenceDataset) -> Int32s:
    """Return the item 1..V that the model scores lowest among those a user did not have in training, shape (U,).

    0: the user has had every item. Of equally bad items the one with the lowest number.
    """
    users, items = model.user_embeddings, model.item_embeddings.T  # (U, D), (D, V)
    dataset = dataset.training_alone()
    worst = numpy.zeros(dataset.user_count, dtype=numpy.int32)
    block = min(dataset.user_count, max(1, _SCORE_CELLS // dataset.item_count))
    workspace = numpy.empty((block, dataset.item_count), dtype=numpy.float32)
    with tqdm(desc="worst items", total=dataset.user_count, unit=" users", disable=None) as bar:
        for first in range(0, dataset.user_count, block):
            offsets = dataset.offsets[first : first + block + 1]
            rows = numpy.arange(len(offsets) - 1)
            # (B, V) up to a constant per user: the user's bias changes no order.
            scores = numpy.matmul(users[first : first + len(rows)], items, out=workspace[: len(rows)])
            scores += model.item_biases
            had = dataset.items[offsets[0] : offsets[-1]] - 1
            scores[numpy.repeat(rows, numpy.diff(offsets)), had] = numpy.inf
            lowest = scores.argmin(axis=1)
            worst[first : first + len(rows)] = numpy.where(numpy.isfinite(scores[rows, lowest]), lowest + 1, 0)
            bar.update(len(rows))
    return worst


def score(model: LightFM, users: Int64s, items: Int32s) -> Float32s:
    """Return LightFM's own scores of each user's item 1..V, shape (n,)."""
    if not len(users):
        return numpy.zeros(0, dtype=numpy.float32)  # which predict refuses
    scores: Float32s = model.predict(users, items - 1, num_threads=1)
    return scores
