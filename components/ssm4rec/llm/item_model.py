"""A causal language model whose vocabulary is the catalog.

The lower layers of a pretrained language model read each title once; the mean of its tokens' states is the item's
features. The upper layers, which go on from there with their pretrained weights, read a user's history, one item at a
position, and are trained to predict the item after each. An item's own learned vector is added on both sides.

To everything around it the model is like any other: token ids in, logits of the next token out, a key-value cache, a
mask of attention. Token i is item i; token 0 begins every history, and pads. Nothing ends one.

Shapes: B sequences, T positions, V items, D width of the language model, C components, Q width of a query.
"""

import math
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import LlamaConfig, LlamaModel
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.models.llama.modeling_llama import LlamaDecoderLayer, LlamaPreTrainedModel

from ssm4rec.llm.item_settings import ItemSettings

START: Final = 0
"""The token that every history begins with."""


class _Layer(LlamaDecoderLayer):  # type: ignore[no-untyped-call] # transformers leaves it untyped
    """A layer whose contribution is dropped at random in training; its weights are called as they were."""

    def __init__(self, config: LlamaConfig, place: int, dropout: float) -> None:
        super().__init__(config, place)
        self.drop = nn.Dropout(dropout)

    def forward(self, hidden_states: Tensor, *args: Any, **more: Any) -> Tensor:
        after: Tensor = super().forward(hidden_states, *args, **more)
        if not self.training or self.drop.p == 0:
            return after
        dropped: Tensor = self.drop(after - hidden_states)
        return hidden_states + dropped


class ItemVectors(nn.Module):
    """What the items are to the model: an input vector each, and an output vector that a query is multiplied by."""

    features: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, items: int, width: int, settings: ItemSettings) -> None:
        """Make vectors of so many items; the features are zero until they are given."""
        super().__init__()
        self.register_buffer("features", torch.zeros(items + 1, width))  # (V + 1, D)
        self.register_buffer("components", torch.zeros(items + 1, settings.features))  # (V + 1, C), of variance 1
        self.register_buffer("scale", torch.ones(()))  # of the features' entries
        self.text_in = nn.Linear(settings.features, width, bias=False)
        self.text_out = nn.Linear(settings.features, settings.query_width, bias=False)
        self.own = nn.Embedding(items + 1, settings.id_width)
        self.own_in = nn.Linear(settings.id_width, width, bias=False)
        self.own_out = nn.Linear(settings.id_width, settings.query_width, bias=False)
        self.bias = nn.Parameter(torch.zeros(items + 1))

    def initialize(self, features: Tensor, counts: Tensor, own: Tensor | None = None) -> None:
        """Take the titles' features (V + 1, D), that of the start first, and how often each item was trained on.

        Other weights are drawn so that inputs begin at the features, and scores at the items' popularity with some
        trace of the titles. ``own``: vectors (V, width) that the items' own begin with, standardized; None: drawn.
        """
        self.features.copy_(features)
        self.components[1:] = principal_components(features[1:], self.components.shape[1])
        self.scale.copy_(features[1:].abs().mean(dim=1).median())
        own_width = self.own.embedding_dim
        for weight, deviation in (
            (self.text_in.weight, 0.02),
            (self.text_out.weight, 0.25 / math.sqrt(self.components.shape[1])),
            (self.own.weight, 0.1),
            (self.own_in.weight, 0.5 / math.sqrt(own_width)),
            (self.own_out.weight, (1 if own is None else 0.25) / math.sqrt(own_width)),
        ):
            nn.init.normal_(weight, std=deviation)
        smoothed = counts.double() + 1
        with torch.no_grad():
            if own is not None:
                self.own.weight[1:] = (own - own.mean(dim=0)) / own.std()
                self.own.weight[START] = 0
            self.bias.copy_((smoothed / smoothed.sum()).log())

    def inputs(self) -> Tensor:
        """Return every item's input vector, (V + 1, D)."""
        learned: Tensor = self.text_in(self.components) + self.own_in(self.own.weight)
        return self.features + self.scale * learned

    def outputs(self) -> Tensor:
        """Return every item's output vector, (V + 1, Q)."""
        found: Tensor = self.text_out(self.components) + self.own_out(self.own.weight)
        return found


class ItemModel(LlamaPreTrainedModel):  # type: ignore[no-untyped-call] # transformers leaves it untyped
    """The upper layers of a Llama over items."""

    def __init__(self, config: LlamaConfig, items: int, settings: ItemSettings) -> None:
        """Make a model of ``config.num_hidden_layers`` layers for so many items; their vectors are zero."""
        super().__init__(config)
        self.model = LlamaModel(config)
        self.model.embed_tokens = None  # items are what it reads, not words
        self.model.layers = nn.ModuleList(
            _Layer(config, place, settings.dropout) for place in range(config.num_hidden_layers)
        )
        self.items = ItemVectors(items, config.hidden_size, settings)
        self.drop = nn.Dropout(settings.dropout)
        self.query = nn.Linear(config.hidden_size, settings.query_width)

    def initialize_query(self) -> None:
        """Draw the query's weights, small next to the popularity that scores begin with."""
        norm = float(self.model.norm.weight.detach().square().mean().sqrt())
        nn.init.normal_(self.query.weight, std=0.1 / math.sqrt(self.config.hidden_size) / norm)
        nn.init.zeros_(self.query.bias)

    def forward(self, input_ids: Tensor, logits_to_keep: int | Tensor = 0, **more: Any) -> CausalLMOutputWithPast:
        """Return the logits of the next item, ``logits`` (B, k, V + 1), of the last k positions, or of those named.

        Args:
            input_ids: (B, T).
            logits_to_keep: k, 0 for all, or positions (k,).
            more: ``attention_mask``, ``position_ids``, ``past_key_values``, ``use_cache`` of a Llama.
        """
        found = self.model(inputs_embeds=functional.embedding(input_ids, self.items.inputs()), **more)
        kept = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        query = self.query(self.drop(found.last_hidden_state[:, kept]))
        logits = query @ self.items.outputs().T + self.items.bias
        return CausalLMOutputWithPast(logits=logits, past_key_values=found.past_key_values)


def principal_components(features: Tensor, count: int) -> Tensor:
    """Return the first principal components of features (V, D), standardized, each of variance 1, shape (V, count).

    Columns that there are none for, of fewer items or features than ``count``, are zero.
    """
    standardized = features.double() - features.double().mean(dim=0)
    standardized /= standardized.std(dim=0, correction=0) + 1e-6
    left, sizes, _ = torch.linalg.svd(standardized, full_matrices=False)
    left = left[:, sizes > 1e-6 * sizes.max().clamp(min=1e-30)][:, :count] * math.sqrt(len(features))
    return functional.pad(left, (0, count - left.shape[1])).to(features.dtype)
