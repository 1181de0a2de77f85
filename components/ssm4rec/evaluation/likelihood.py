"""How likely a recommender finds each target: its negative log-likelihood in nats.

The softmax is over the whole catalog, the history unmasked, with the weight of the repeat term that the training had,
also where ranking does not use it (``models/repeat_term.py``): what is measured is what was minimized.

Shapes: T targets of a split.
"""

from typing import Final

import numpy
import torch
from numpy.typing import NDArray
from torch.nn import functional

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, Split
from ssm4rec.artifacts.estimate import Estimate
from ssm4rec.data.batches import gather_rows
from ssm4rec.evaluation.full_ranking import SCORE_CELLS, TOKENS, history_cells, target_batches
from ssm4rec.evaluation.statistics import bootstrap_means, by_user, interval
from ssm4rec.evaluation.target_windows import target_windows
from ssm4rec.models.recommender import Recommender

Floats = NDArray[numpy.float64]

_RESAMPLES: Final = 1000


@torch.no_grad()
def target_losses(model: Recommender, dataset: SequenceDataset, split: Split, device: torch.device) -> Floats:
    """Return -log p(target) of every target of a split, (T,), in the order of ``SequenceDataset.targets``.

    ``model`` is on ``device``; it reads the histories that ``full_ranking`` gives it.
    """
    laid = target_windows(dataset, split, model.max_length, shared=model.causal)
    starts = dataset.offsets[laid.users]
    targets = dataset.items[starts + laid.places].astype(numpy.int64) - 1
    losses = numpy.empty(len(targets))
    most_rows = max(1, SCORE_CELLS[device.type] // dataset.item_count)
    for windows, rows, batch in target_batches(laid, TOKENS[device.type], most_rows):
        items = torch.from_numpy(gather_rows(dataset.items, laid.starts[windows], laid.lengths[windows])).to(device)
        read = torch.from_numpy(laid.read[batch]).to(device)
        cells_had = history_cells(dataset.items, starts[batch], laid.places[batch], dataset.item_count)
        seen = torch.from_numpy(cells_had).to(device)
        rows_of_targets = torch.from_numpy(rows).to(device) if model.causal else None
        scores = model.score_next(items, read, seen, rows_of_targets)
        if (term := model.repeat_term) is not None and (unused := term() - term.ranking()) > 0:
            cells = scores.view(-1)
            cells[seen] = cells[seen] + unused  # once, where a cell is named twice
        wanted = torch.from_numpy(targets[batch]).to(device)
        losses[batch] = functional.cross_entropy(scores, wanted, reduction="none").cpu().numpy()
    return losses


def mean_loss(losses: Floats, users: Int64s) -> Estimate:
    """Return the mean over targets (T,) with its 95% bootstrap interval over users; ``users`` ascending, (T,)."""
    sums, counts = by_user(losses, users.astype(numpy.int32))
    drawn = bootstrap_means(sums[:, None], _RESAMPLES, numpy.random.default_rng(0), counts)
    return Estimate(float(losses.mean()), *interval(drawn[:, 0]), len(counts))
