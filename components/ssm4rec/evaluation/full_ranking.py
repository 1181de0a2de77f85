"""Full ranking: where each target stands among all items of the catalog.

rank = 1 + the number of items scored higher + the number of other items scored the same: ties count against the
model, so a constant model ranks every target last. Two protocols, never mixed:

- unmasked: all items compete, those of the history too (RecBole's sequential evaluation, the paper's protocol);
- masked: the items of the user's whole history are removed. A target among them, which the user has had before, has the
  rank ``artifacts.ranks.MISSED``: no list of new items can hold it.

Scores come in batches as the scorer likes them and are ranked in smaller parts, which stay in a CPU's caches.

Shapes: T targets of a split or a batch, n users of the split, B rows of a batch or a part, V items, S cells of
histories, K candidates, G groups.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final

import numpy
import torch
from torch import Tensor

from ssm4rec.artifacts.dataset import Int32s, Int64s, SequenceDataset, Split, target_places
from ssm4rec.artifacts.ranks import MISSED, FullRanking
from ssm4rec.data.batches import gather_rows, length_buckets
from ssm4rec.evaluation.target_windows import TargetWindows, target_windows
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.large_arrays import zeros

Scorer = Callable[..., Tensor]
"""Gives scores (T, V) of items 1..V from the last items of histories (B, L), int64, padded on the right with 0, how
many of them come before each target (T,), and the cells of the scores that hold items of the whole histories (S,), see
``history_cells``. Row i belongs to target i, unless a fourth argument says which row belongs to it, (T,)."""

TOKENS = {"cpu": 2**12, "cuda": 2**18}
"""Cells of a batch of histories: on a CPU as many as its caches hold (measured: 2^14 took 1.4 times as long)."""
SCORE_CELLS = {"cpu": 6 * 2**20, "cuda": 2**25}
"""Scores of a batch. On a CPU 24 MiB of float32: from 32 MiB on, glibc asks the system for fresh pages every time
(measured: the product then took 1.9 times as long). On a GPU 128 MiB; at 211,000 items that is 159 users."""
_PART_CELLS = {"cpu": 2**19, "cuda": 2**25}
"""Scores ranked at a time. On a CPU 2 MiB of float32: the several passes over them then stay in its caches (measured
at 26,000 items: 2^17 took 1.2 times as long, since each call has few rows, and whole batches 1.3 times)."""


_NOT_NUMBERS: Final = "the model's scores are NaN or infinite: its training diverged; train it again"


class ScoresNotNumbersError(InputError):
    """A model gave scores that are NaN or infinite, so that nothing can be ranked."""


@torch.no_grad()
def full_ranking(
    scorer: Scorer,
    dataset: SequenceDataset,
    split: Split,
    max_length: int,
    device: torch.device,
    candidate_count: int = 0,
    *,
    one_pass: bool = False,
) -> FullRanking:
    """Rank the whole catalog for every target of a split.

    Args:
        scorer: gives the scores, on ``device``.
        max_length: of the histories given to the scorer, their last items; ``target_windows.py`` has the rule.
        candidate_count: K, the number of best unseen items, and of best items of all, to return for each user.
        one_pass: the scorer takes the fourth argument: targets of a user that follow one another share rows.

    Raises:
        ScoresNotNumbersError: the model gave a score that is NaN or infinite.
        InputError: nobody is in the split.
    """
    many = len(dataset.targets(split)[0]) > int((dataset.position(split) >= 0).sum())
    laid = target_windows(dataset, split, max_length, shared=one_pass and many)
    found = unranked(dataset, split, candidate_count, (laid.users, laid.places))
    starts, lengths, first = dataset.offsets[laid.users], laid.places, found.first
    place_of = numpy.cumsum(first) - 1  # of the target's user among those of the candidates
    count = found.candidates.shape[1]
    most_rows = max(1, SCORE_CELLS[device.type] // dataset.item_count)
    part_rows = min(len(lengths), max(1, _PART_CELLS[device.type] // dataset.item_count))
    workspace = torch.empty(part_rows, dataset.item_count, device=device)  # one for all parts: it stays in the cache
    for windows, rows, batch in target_batches(laid, TOKENS[device.type], most_rows):
        recent = torch.from_numpy(gather_rows(dataset.items, laid.starts[windows], laid.lengths[windows])).to(device)
        read = torch.from_numpy(laid.read[batch]).to(device)
        cells = history_cells(dataset.items, starts[batch], lengths[batch], dataset.item_count)
        batch_seen = torch.from_numpy(cells).to(device)
        rows_of_targets = (torch.from_numpy(rows).to(device),) if one_pass and many else ()
        batch_scores = scorer(recent, read, batch_seen, *rows_of_targets)
        ends = numpy.concatenate([[0], lengths[batch].cumsum()])  # of the rows' cells
        for start in range(0, len(batch), part_rows):
            part = batch[start : start + part_rows]
            scores, space = batch_scores[start : start + part_rows], workspace[: len(part)]
            target = torch.from_numpy(found.targets[part]).to(device)
            seen = batch_seen[ends[start] : ends[start + len(part)]] - start * dataset.item_count
            check_numbers(scores)
            everywhere, among_unseen = ranks(scores, target, seen, space)
            found.unmasked[part], found.masked[part] = everywhere.cpu().numpy(), among_unseen.cpu().numpy()
            if count and (wanted := part[first[part]]).size:
                unseen = remove_history(scores, seen, space)
                values, items = best_items(unseen if len(wanted) == len(part) else unseen[first[part]], count)
                found.candidates[place_of[wanted]] = items.cpu().numpy()
                found.candidate_scores[place_of[wanted]] = values.cpu().numpy()
                whole = scores if len(wanted) == len(part) else scores[first[part]]
                found.unmasked_candidates[place_of[wanted]] = best_items(whole.float(), count)[1].cpu().numpy()
    return found


def unranked(dataset: SequenceDataset, split: Split, count: int, targets: tuple[Int64s, Int64s]) -> FullRanking:
    """Return a split's targets with room for their ranks and for K = ``count`` best items, or as many as there are.

    ``targets``: as ``SequenceDataset.targets`` gives them. Raise InputError if there are none.
    """
    users, places = targets
    if not len(users):
        raise InputError(f"data set {dataset.name}: no user has a {split} target; split it otherwise (--splitting)")
    first = numpy.diff(users, prepend=-1) > 0
    shape, what = (int(first.sum()), min(count, dataset.item_count)), f"the candidates of {dataset.name}"
    return FullRanking(
        users=users,
        targets=dataset.items[dataset.offsets[users] + places].astype(numpy.int64),
        history_lengths=places,
        unmasked=numpy.zeros_like(places),
        masked=numpy.zeros_like(places),
        first=first,
        candidates=zeros(shape, numpy.int64, what),
        candidate_scores=zeros(shape, numpy.float32, what),
        unmasked_candidates=zeros(shape, numpy.int64, what),
    )


def target_batches(laid: TargetWindows, cells: int, most_targets: int) -> Iterator[tuple[Int64s, Int64s, Int64s]]:
    """Yield batches: the windows (B,), which of them each target belongs to (T,), and the targets (T,).

    Windows have at most ``cells`` in a batch, and ``most_targets`` but for those of its last window.
    """
    numbers = numpy.bincount(laid.windows, minlength=len(laid.starts))  # of each window's targets
    firsts = numpy.cumsum(numbers) - numbers
    for batch in length_buckets(laid.lengths, cells=cells, rows=most_targets):
        part = (numpy.cumsum(numbers[batch]) - 1) // most_targets
        for windows in numpy.split(batch, numpy.flatnonzero(numpy.diff(part)) + 1):
            yield windows, *target_places(firsts[windows], numbers[windows])


def history_cells(items: Int32s, starts: Int64s, lengths: Int64s, item_count: int) -> Int64s:
    """Return where scores (B, V), read row after row, hold the items of the rows' histories, shape (S,).

    A row's history begins in ``items`` at one of ``starts``, (B,); V is ``item_count``. S is the sum of the histories'
    ``lengths``, (B,), since an item had twice is named twice.
    """
    stops = (starts + lengths).tolist()
    histories = [items[start:stop] for start, stop in zip(starts.tolist(), stops, strict=True)]
    first_cells = numpy.arange(len(lengths)) * item_count - 1  # of item 0, which is padding
    cells = numpy.concatenate(histories, dtype=numpy.int64)
    cells += numpy.repeat(first_cells, lengths)
    return cells


def check_numbers(scores: Tensor) -> None:
    """Raise ScoresNotNumbersError if one of the scores is NaN or infinite."""
    if not math.isfinite(scores.sum().item()):
        raise ScoresNotNumbersError(_NOT_NUMBERS)


def ranks(scores: Tensor, targets: Tensor, seen: Tensor, space: Tensor) -> tuple[Tensor, Tensor]:
    """Return the unmasked and the masked ranks of ``targets``, each (B,), int64.

    Args:
        scores: (B, V), at most 2^24 items.
        targets: items 1..V, (B,).
        seen: the cells of ``scores`` that hold items of the histories, (S,), as ``history_cells`` gives them.
        space: (B, V), float32, contiguous, to compute in.

    >>> scores, space = torch.tensor([[0.5, 0.9, 0.5, 0.1]]), torch.empty(1, 4)
    >>> ranks(scores, torch.tensor([1]), torch.tensor([1, 3]), space)  # one higher, which was had before, and one tie
    (tensor([3]), tensor([2]))
    >>> _, masked = ranks(scores, torch.tensor([1]), torch.tensor([1, 0, 0]), space)  # the user had the target
    >>> masked.item() == MISSED
    True
    """
    columns = targets[:, None] - 1  # (B, 1)
    # Ones and zeros in float32: compared and summed several times as fast as booleans, and exact up to 2^24.
    torch.ge(scores, scores.gather(1, columns), out=space)
    unmasked = space.sum(dim=1)
    # Clearing cells counts an item that was had twice once, which subtracting gathered scores would not.
    space.view(-1).index_fill_(0, seen, 0)
    masked = space.sum(dim=1).long().where(space.gather(1, columns)[:, 0] > 0, MISSED)
    return unmasked.long(), masked


def remove_history(scores: Tensor, seen: Tensor, space: Tensor) -> Tensor:
    """Return ``space`` (B, V), filled with ``scores`` (B, V) but for minus infinity in the cells ``seen`` (S,)."""
    space.copy_(scores)
    space.view(-1).index_fill_(0, seen, -torch.inf)
    return space


def best_items(scores: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the K = ``count`` highest of ``scores`` (B, V), in descending order, and their items, each (B, K).

    Exact: the values are those of ``scores.topk(K)``. Which of equal scores take the last places is the same in every
    run and otherwise undefined. K is at most V. Raise ScoresNotNumbersError if scores are NaN (seen on a CPU only).

    >>> best_items(torch.tensor([[0.5, 0.9, 0.5, 0.1]]), 2)
    (tensor([[0.9000, 0.5000]]), tensor([[2, 1]]))
    """
    if scores.device.type != "cpu":
        best = scores.topk(count)
        return best.values, best.indices + 1
    rows, item_count = scores.shape
    # Columns fall into G = 8 K groups, column c into c mod G (the last V mod G columns into none). The K-th highest of
    # the groups' maxima is a floor that at least K scores reach, mostly just a few more; the K highest are among them.
    groups = min(item_count, 8 * count)
    size = item_count // groups
    maxima = scores[:, : size * groups].view(rows, size, groups).amax(dim=1).numpy()  # (B, G)
    floors = numpy.partition(maxima, groups - count, axis=1)[:, groups - count, None]  # (B, 1)
    values = scores.numpy()
    owners, columns = numpy.divmod(numpy.flatnonzero(values >= floors), item_count)
    reaching = numpy.bincount(owners, minlength=rows)  # (B,), each at least K
    if rows and reaching.min() < count:
        raise ScoresNotNumbersError(_NOT_NUMBERS)
    present = numpy.arange(reaching.max()) < reaching[:, None]
    high = numpy.full(present.shape, -numpy.inf, dtype=values.dtype)
    high[present] = values[owners, columns]
    items = numpy.zeros(present.shape, dtype=numpy.int64)
    items[present] = columns + 1
    best = torch.from_numpy(high).topk(count)
    return best.values, torch.from_numpy(items).gather(1, best.indices)
