"""Batches almost without padding: sequences of like length together, under a budget of cells.

Shapes: n sequences, B rows of a batch, L its longest row.
"""

from collections.abc import Iterator

import numpy

from ssm4rec.artifacts.dataset import Int32s, Int64s


def length_buckets(
    lengths: Int64s, cells: int, rows: int, generator: numpy.random.Generator | None = None
) -> Iterator[Int64s]:
    """Yield batches of indices into ``lengths`` such that rows x longest row stays within ``cells``.

    Args:
        lengths: (n,), each at least 1.
        cells: the budget; a single sequence longer than it is a batch of its own.
        rows: the most rows of a batch.
        generator: draws which sequences of equal length meet and the order of the batches; without one, the batches
            come in the order of the lengths.

    >>> [batch.tolist() for batch in length_buckets(numpy.array([3, 1, 2, 1]), cells=4, rows=10)]
    [[1, 3], [2], [0]]
    """
    ties = generator.permutation(len(lengths)) if generator else numpy.arange(len(lengths))
    order = numpy.lexsort((ties, lengths))
    ascending = lengths[order]
    batches = []
    start = 0
    while start < len(order):
        most = min(rows, max(1, cells // int(ascending[start])))
        longest = ascending[start : start + most]
        fitting = int(numpy.count_nonzero(longest * numpy.arange(1, len(longest) + 1) <= cells))
        stop = start + max(1, fitting)
        batches.append(order[start:stop])
        start = stop
    if generator:
        generator.shuffle(batches)
    yield from batches


def gather_rows(items: Int32s, starts: Int64s, lengths: Int64s) -> Int64s:
    """Return ``items[start : start + length]`` of each row, padded on the right with 0, shape (B, L).

    >>> gather_rows(numpy.array([5, 6, 7, 8], dtype=numpy.int32), numpy.array([0, 2]), numpy.array([1, 2])).tolist()
    [[5, 0], [7, 8]]
    """
    step = numpy.arange(int(lengths.max()))
    inside = step < lengths[:, None]
    rows: Int64s = numpy.where(inside, items.take(starts[:, None] + step, mode="clip"), numpy.int64(0))
    return rows
