"""How many floating-point operations a training takes, counted by torch on the shapes of its batches.

``torch.utils.flop_counter`` counts matrix products and convolutions, forward and backward; nothing elementwise: no
activations, no norms, and of a selective scan not the recurrence (an SSD is counted in its chunked form, which is made
of matrix products). It runs on the meta device: kernels of our own, which it would not see, compute nothing there, and
neither does anything else. Attention is counted over whole rows, padding and the future included, as it is computed.

Shapes: B rows of a batch, L longest row, T targets, D width, V items.
"""

from collections import Counter
from typing import Final

import numpy
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ssm4rec.data.batches import gather_rows, length_buckets
from ssm4rec.models.recommender import Recommender
from ssm4rec.training.objectives import objective
from ssm4rec.training.settings import Recipe
from ssm4rec.training.task import Task

_META: Final = torch.device("meta")


def training_flops(task: Task[Recipe], epochs: int) -> dict[str, int]:
    """Return the operations of so many epochs, each taken to be as the first.

    ``flops``: of the model without its output layer. ``output_flops``: of the product with all item vectors, for a loss
    over the whole catalog. ``targets_seen``: positions trained on.
    """
    settings = task.recipe.training
    dataset = task.dataset.of_users(settings.users_share)
    with _META:
        model = task.recipe.model.build(dataset.item_count, task.start.words)
    goal = objective(settings, model)
    rng, drawn = numpy.random.default_rng([task.seed, 1]), torch.Generator().manual_seed(task.seed)
    crops = goal.crops(dataset, model.max_length, rng)
    shapes: Counter[tuple[int, int]] = Counter()
    targets, last_alone = 0, False
    for rows in length_buckets(crops.lengths, settings.tokens_per_batch, settings.rows_per_batch, rng):
        items = gather_rows(dataset.items, crops.starts[rows], crops.lengths[rows] + goal.extra)
        batch = goal.batch(torch.from_numpy(items), drawn)
        shapes[len(batch.items), batch.items.shape[1]] += 1
        targets += int((batch.targets > 0).sum())
        last_alone = batch.targets.dim() == 1
    body = sum(number * _of_body(model, shape, last_alone=last_alone) for shape, number in shapes.items())
    of_epoch = {"flops": body, "output_flops": _of_output(model, targets), "targets_seen": targets}
    return {name: epochs * number for name, number in of_epoch.items()}


def _of_body(model: Recommender, shape: tuple[int, int], *, last_alone: bool) -> int:
    """Return the operations of the hidden states of a batch (B, L), of the last positions alone if so, and back."""
    items = torch.ones(shape, dtype=torch.int64, device=_META)
    lengths = torch.ones(shape[0], dtype=torch.int64, device=_META)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        _backward(model.next_hidden(items, lengths) if last_alone else model(items))
    return int(counter.get_total_flops())


def _of_output(model: Recommender, targets: int) -> int:
    """Return the operations of the scores (T, V) of hidden states (T, D), and back."""
    vectors = model.item_vectors()
    hidden = torch.empty(targets, vectors.shape[1], device=_META, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        _backward(hidden @ vectors.T)
    return int(counter.get_total_flops())


def _backward(values: Tensor) -> None:
    values.sum().backward()  # type: ignore[no-untyped-call]
