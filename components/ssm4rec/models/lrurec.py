"""LRURec: linear recurrent units over the item sequence, the retriever of LlamaRec.

Yue et al. (2024), "Linear recurrent units for sequential recommendation"; Yueeeeeeee/LlamaRec:model/lru.py: item
embedding (no positions: the unit is recurrent) -> dropout -> LayerNorm -> layers of [LN(x + drop(LRU(x))) ->
position-wise feed-forward] -> tied output plus a bias per item. Per channel, with complex in-map, state and out-map::

    h_t = lambda h_{t-1} + gamma (W_in x_t + b_in)      lambda = exp(-exp(nu) + i exp(theta))
    y_t = Re(W_out h_t) + b_out

The same function as there, stored otherwise: complex weights are pairs of real parameters; the imaginary part of the
output's bias, which reaches nothing, is left out. Left padding, which the source masks, is right padding here, which
a causal model never sees. Only the epsilon of the layers' LayerNorms
differs: 1e-12, not 1e-5.

Shapes: B batch, L length, D width, C = expand x D channels, V items.
"""

import math
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssm4rec.artifacts.dataset import Int64s
from ssm4rec.models.item_vectors import INITIAL_DEVIATION, WordVectors
from ssm4rec.models.item_words import ItemWords
from ssm4rec.models.mixer import Memory, at_last, last_alone
from ssm4rec.models.repeat_term import RepeatTerm
from ssm4rec.models.serving import RecurrentRecommender
from ssm4rec.models.sizes import MAX_LENGTH, Histories, Profile, RecommenderConfig, tuned_dropout
from ssm4rec.ops.linear_recurrence import linear_recurrence


@dataclass(frozen=True, kw_only=True)
class LRURecConfig(RecommenderConfig):
    """Sizes and recipe of an LRURec."""

    expand: int  # complex channels per unit of width
    minimum_modulus: float  # of the initial decays lambda, which are uniform over a ring of the complex plane
    maximum_modulus: float  # its outer radius, below 1
    output_bias: bool  # whether every item has a bias in the scores

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.expand < 1:
            raise ValueError("expand is at least 1")
        if not 0 <= self.minimum_modulus < self.maximum_modulus < 1:
            raise ValueError(
                f"moduli {self.minimum_modulus} and {self.maximum_modulus} do not satisfy 0 <= minimum < maximum < 1"
            )

    def build(self, item_count: int, words: ItemWords | None = None) -> "LRURec":
        """Return a freshly initialized LRURec."""
        return LRURec(self, item_count, words)

    @classmethod
    def recipe(cls, profile: Profile, histories: Histories) -> "tuple[LRURecConfig, dict[str, Any]]":
        """Return the setting of LlamaRec's retriever (Yueeeeeeee/LlamaRec:config.py, model/lru.py)."""
        paper = cls(
            max_length=MAX_LENGTH[histories],  # bert_max_len 200, 50 for Amazon
            d_model=64,  # bert_hidden_units 64
            n_layers=2,  # bert_num_blocks 2
            d_ff=256,  # d_ff = hidden_size * 4
            dropout=0.2,  # bert_dropout 0.2
            expand=2,  # hidden_size = 2 * d_model
            minimum_modulus=0.8,  # r_min
            maximum_modulus=0.99,  # r_max
            output_bias=True,
            repeat_term=profile != "paper",
        )
        match profile:
            case "paper":
                return paper, {
                    "objective": "next-item",
                    "rows_per_batch": 16 if histories == "long" else 64,  # train_batch_size 16 (ml-100k), 64
                    "micro_batches": 1,
                    "weight_decay": 0.01,  # weight_decay 0.01
                    "epochs": 500,  # num_epochs 500
                }
            case "smoke":
                return replace(paper, d_model=16, d_ff=32, n_layers=1), {}
        # Without the bias the softmax is a quarter faster: 64 columns instead of 65.
        return replace(paper, output_bias=False, dropout=tuned_dropout(histories)), {}


class LRURec(RecurrentRecommender):
    """Items (B, L) to hidden states (B, L, D), or (B, L, D + 1) with an output bias."""

    def __init__(self, config: LRURecConfig, item_count: int, words: ItemWords | None = None) -> None:
        super().__init__(config, item_count, lambda: LinearRecurrentUnit(config), words, residual=True, norm_eps=1e-5)
        self.item_bias = nn.Parameter(torch.empty(item_count)) if config.output_bias else None
        _initialize(self)

    def read(
        self, items: Tensor, segments: Tensor | None, memory: Memory | None, lengths: Tensor | None
    ) -> tuple[Tensor, Memory]:
        """Return hidden states and the recurrent units' states, one tensor (B, C, 2) per layer."""
        x, states = super().read(items, segments, memory, lengths)
        if self.item_bias is not None:
            # Losses and scores know products of hidden states and item vectors only: the bias is the last entry of an
            # item vector, and the hidden state has a 1 there.
            x = functional.pad(x, (0, 1), value=1.0)
        return x, states

    def item_vectors(self) -> Tensor:
        """Return the output vectors of items 1..V: (V, D), or with their biases as a last column (V, D + 1)."""
        vectors = super().item_vectors()
        return vectors if self.item_bias is None else torch.cat([vectors, self.item_bias[:, None]], dim=1)

    def forget(self, items: Int64s) -> None:
        """Set the own vectors and biases of ``items`` (n,) to zero: only their words are left."""
        super().forget(items)
        if self.item_bias is not None:
            with torch.no_grad():
                self.item_bias[torch.from_numpy(items) - 1] = 0


class LinearRecurrentUnit(nn.Module):
    """Mix a sequence (B, L, D) causally through C complex channels that decay and turn."""

    def __init__(self, config: LRURecConfig) -> None:
        super().__init__()
        D, C = config.d_model, config.expand * config.d_model
        self.log_rate, self.log_phase, self.log_scale = (  # nu, theta and gamma in the sources, as logarithms
            nn.Parameter(start) for start in _ring(C, config.minimum_modulus, config.maximum_modulus)
        )
        self.real_in = nn.Linear(D, C)
        self.imaginary_in = nn.Linear(D, C)
        self.real_out = nn.Linear(C, D)
        self.imaginary_out = nn.Linear(C, D, bias=False)

    def decay(self) -> Tensor:
        """Return lambda (C,), complex."""
        return torch.polar(torch.exp(-torch.exp(self.log_rate)), torch.exp(self.log_phase))

    def forward(
        self,
        x: Tensor,
        segments: Tensor | None = None,
        state: Memory | None = None,
        lengths: Tensor | None = None,
        ends: Tensor | None = None,
    ) -> tuple[Tensor, Memory]:
        """Return the mixed sequence (B, L, D) and the state: real and imaginary parts (B, C, 2); see ``mixer.py``."""
        # Both parts come from one matrix product, side by side, so that they are complex numbers without a copy; the
        # scale is applied to the weights, which are smaller than the inputs.
        weight = torch.stack([self.real_in.weight, self.imaginary_in.weight], dim=1)  # (C, 2, D)
        bias = torch.stack([self.real_in.bias, self.imaginary_in.bias], dim=1)  # (C, 2)
        scale = torch.exp(self.log_scale)[:, None]
        inputs = functional.linear(x, (weight * scale[..., None]).flatten(0, 1), (bias * scale).flatten())
        # Under autocast the product has a precision that complex numbers do not come in.
        inputs = torch.view_as_complex(inputs.to(scale.dtype).view(*x.shape[:2], -1, 2))  # (B, L, C)
        before = None if state is None else torch.view_as_complex(state[0])
        states, last = linear_recurrence(inputs, self.decay(), segments, before)
        if lengths is not None:
            last = at_last(states, lengths)
        if ends is not None:
            states = last_alone(states, ends)
        # Re(W h) = Re W Re h - Im W Im h, as one matrix product.
        weight = torch.stack([self.real_out.weight, -self.imaginary_out.weight], dim=-1)  # (D, C, 2)
        y = functional.linear(torch.view_as_real(states).flatten(-2), weight.flatten(1), self.real_out.bias)
        return y, (torch.view_as_real(last),)


def _ring(count: int, minimum: float, maximum: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return logarithms of rate, phase and scale (count,) of decays uniform over a ring of the complex plane.

    Orvieto et al. (2023), "Resurrecting recurrent neural networks for long sequences": the squared modulus is uniform
    between the squared radii, the phase in [0, 2 pi]; the scale sqrt(1 - modulus^2) keeps the states of white noise
    at its size.
    """
    uniform = 1 - torch.rand(2, count)  # in (0, 1], so that no logarithm is infinite
    square = minimum**2 + (maximum**2 - minimum**2) * uniform[0]
    return torch.log(-0.5 * torch.log(square)), torch.log(2 * math.pi * uniform[1]), 0.5 * torch.log(1 - square)


def _initialize(model: LRURec) -> None:
    """Draw all but the decays, normalizations and repeat term, biases too, from N(0, 0.02) cut at two deviations."""
    bound = 2 * INITIAL_DEVIATION
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not isinstance(module, nn.LayerNorm | RepeatTerm) and not name.startswith("log_"):
                nn.init.trunc_normal_(parameter, std=INITIAL_DEVIATION, a=-bound, b=bound)
    if isinstance(model.item_embedding, WordVectors):
        model.item_embedding.reset()
        return
    with torch.no_grad():
        model.item_embedding.weight[0].zero_()
