"""The best items of histories, by one recommender: what it would recommend to each user now.

Shapes: n histories, B rows of a batch, L items that the model reads, V items, A allowed ones, S cells of whole
histories, K recommendations.
"""

from typing import NamedTuple

import numpy
import torch
from numpy.typing import NDArray

from ssm4rec.artifacts.dataset import Int32s, Int64s
from ssm4rec.data.batches import gather_rows, length_buckets
from ssm4rec.evaluation.full_ranking import SCORE_CELLS, TOKENS, best_items, check_numbers, history_cells
from ssm4rec.models.recommender import Recommender


class Histories(NamedTuple):
    """n histories in one array: the i-th is ``items[starts[i]:starts[i] + lengths[i]]``, oldest first, not empty."""

    items: Int32s
    starts: Int64s
    lengths: Int64s


@torch.no_grad()
def best_lists(
    model: Recommender, histories: Histories, count: int, *, masked: bool, allowed: Int64s | None = None
) -> tuple[NDArray[numpy.int64], NDArray[numpy.float32]]:
    """Return the best items of every history, best first, and their scores, each (n, K).

    K is ``count``, or as many as may be recommended if these are fewer. Behind the last item of a shorter list, of a
    history that left less than K of them, stand item 0 and minus infinity. Scores are held for one batch at a time.

    Args:
        model: on any device; it reads the last ``max_length`` items of a history.
        count: at least 1.
        masked: leave out the items of the whole history.
        allowed: items that may be recommended, ascending, (A,); None: all.

    Raises:
        ScoresNotNumbersError: the model gave a score that is NaN or infinite.
    """
    vectors = model.item_vectors()
    item_count, device = len(vectors), vectors.device
    columns = None if allowed is None else torch.from_numpy(allowed - 1).to(device)
    width = min(count, item_count if allowed is None else len(allowed))
    items = numpy.zeros((len(histories.starts), width), dtype=numpy.int64)
    scores = numpy.full(items.shape, -numpy.inf, dtype=numpy.float32)
    read = numpy.minimum(histories.lengths, model.max_length)
    first_read = histories.starts + histories.lengths - read
    rows = max(1, SCORE_CELLS[device.type] // item_count)
    for batch in length_buckets(read, cells=TOKENS[device.type], rows=rows):
        recent = torch.from_numpy(gather_rows(histories.items, first_read[batch], read[batch])).to(device)
        whole = histories.starts[batch], histories.lengths[batch]
        seen = torch.from_numpy(history_cells(histories.items, *whole, item_count)).to(device)
        found = model.score_next(recent, torch.from_numpy(read[batch]).to(device), seen)  # (B, V)
        check_numbers(found)
        if masked:
            found.view(-1).index_fill_(0, seen, -torch.inf)
        if columns is not None:
            found = found.index_select(1, columns)  # (B, A)
        values, places = best_items(found.float(), width)
        best = places.cpu().numpy()
        scores[batch] = values.cpu().numpy()
        items[batch] = best if allowed is None else allowed[best - 1]
    items[numpy.isneginf(scores)] = 0
    return items, scores
