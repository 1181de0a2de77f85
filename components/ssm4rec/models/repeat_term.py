"""How much likelier an item is because the user had it before: one learned number.

Whether people come back to what they had is a property of the data, not of the model: nobody rates a film twice, many
buy the same milk every week. One number w, added to the scores of the items of a user's history, says which. At
w = -10 a ranking over all items is as good as one from which the history was removed; above 0 its items gain, and far
above (5, not 1) the history comes first.
RepeatNet (Ren et al., AAAI 2019) learns a network for this, ReCODE (arXiv 2405.16550) a network over times.

Shapes: B users, V items, S cells of histories.
"""

import math

import torch
from torch import Tensor, nn

_RATE = 10.0
"""How much faster w moves than the weights: a step of Adam is as long as its rate, .002 say, and w has units to go."""


class RepeatTerm(nn.Module):
    """The number w = start + _RATE * change.

    ``change`` is learned. ``start`` is what the training data say before anything is learned; weight decay draws w
    towards it, and it is not part of the weights' norm, by which USGM measures its ball.
    """

    start: Tensor
    raised: bool
    """Rank with w even above 0 from a start of 0, for as long as this is set."""

    def __init__(self) -> None:
        super().__init__()
        self.raised = False
        self.register_buffer("start", torch.zeros(()))
        self.change = nn.Parameter(torch.zeros(()))

    def forward(self) -> Tensor:
        """Return w, of shape (), with which the losses are computed."""
        return self.start + _RATE * self.change

    def ranking(self) -> Tensor:
        """Return what is added to scores that rank, of shape (): w, but nothing above 0 from a start of 0.

        There the loss raises w until the history has its share of the softmax. Likelihood gains by that; but the items
        of a history are many, the oldest among them, and come before the likeliest of the new ones, which a model that
        has seen little cannot make up for. So validation decides whether it is ``raised`` all the same.
        """
        weight = self()
        return weight if self.raised else torch.where(self.start == 0, weight.clamp(max=0), weight)

    @property
    def undecided(self) -> bool:
        """Whether w is above 0 from a start of 0: whether to rank with it is to be found out."""
        return bool(self.start == 0) and bool(self.change > 0)

    def settled(self) -> dict[str, Tensor]:
        """Return its weights with what was learned as the start: with them lists are ranked with w."""
        return {"start": self().detach().clone(), "change": torch.zeros_like(self.change)}

    def start_from(self, targets: int, repeated: int, items_had: float, item_count: int) -> None:
        """Set w to the least that the training data say, whatever the model's scores will be.

        If ``items_had`` of V items get w and others 0, the softmax gives them together the share of the targets that
        repeat at w = log(repeated / new) + log(others / items_had). How many others there are depends on the scores:
        V - items_had while all are equal; about as many as were had once the model knows what it expects of new ones,
        and what of old ones. So:

        - below 0 even while all scores are equal: there;
        - above 0 even for the few (more targets repeat than not): there, at log(repeated / new);
        - else 0.

        One repeated and one new target are added to what was counted, so that w is finite.

        Args:
            targets: of the training.
            repeated: those of them that the user had before.
            items_had: how many different items a user had before a target, on average.
            item_count: V.
        """
        odds = math.log((repeated + 1) / (targets - repeated + 1))
        equal_scores = odds + math.log(max(item_count - items_had, 1) / max(items_had, 1))
        self.start.fill_(min(equal_scores, max(odds, 0.0)))

    def add(self, scores: Tensor, seen: Tensor) -> Tensor:
        """Add :meth:`ranking` to the cells ``seen`` (S,) of scores (B, V), in place, once where a cell is named twice.

        Cells count row after row, as ``history_cells`` gives them.
        """
        cells = scores.view(-1)
        cells[seen] = cells[seen] + self.ranking().to(scores.dtype)
        return scores


def cells_of(items: Tensor, item_count: int) -> Tensor:
    """Return where scores (B, V), read row after row, hold the items of histories (B, L), padded with 0, shape (S,).

    >>> cells_of(torch.tensor([[3, 1], [2, 0]]), item_count=4)
    tensor([2, 0, 5])
    """
    first = torch.arange(len(items), device=items.device)[:, None] * item_count - 1
    return (items + first)[items > 0]
