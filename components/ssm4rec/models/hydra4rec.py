"""Hydra4Rec: the shell of Mamba4Rec around Hydra blocks.

The paper's section 3.3: a Hydra block and Mamba4Rec's position-wise feed-forward make a layer, and the next item is
predicted from the last position (3.3.1). The rest is the shell of ``mamba4rec.py``: item embedding -> dropout ->
LayerNorm -> layers of [Hydra -> LN(drop(h)), plus the residual when there is more than one layer -> feed-forward] ->
tied output. The paper names neither the number of layers nor the objective.

With one layer the backward half of the block has no part in the hidden state of a row's last position, since nothing
follows it: trained through the readouts ``last`` and ``mask``, its parameters get a gradient of exactly 0. More layers
or the readout ``mean`` bring it to use. Cloze trains it with one layer too, for predictions that are never asked.

Shapes: B batch, L length, D width, V items, M maximum length.
"""

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, get_args

import torch
from torch import Tensor, nn

from ssm4rec.models.feed_forward import AfterMixer
from ssm4rec.models.hydra import Hydra, HydraConfig
from ssm4rec.models.item_vectors import item_embedding
from ssm4rec.models.item_words import ItemWords
from ssm4rec.models.mixer import valid_mask
from ssm4rec.models.recommender import Recommender, initialize
from ssm4rec.models.sizes import MAX_LENGTH, Histories, Profile, RecommenderConfig, tuned_dropout

Readout = Literal["last", "mean", "mask"]
"""From which hidden state the next item is predicted: that of the last item (the paper), the mean over all items, or
that of a mask token put after them (Sun et al. 2019, BERT4Rec, section 3.6)."""


@dataclass(frozen=True, kw_only=True)
class Hydra4RecConfig(RecommenderConfig):
    """Sizes of the shell, the Hydra block in it (``mixer``), and the recipe."""

    readout: Readout
    mixer: HydraConfig
    causal: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.readout not in get_args(Readout):
            raise ValueError(f"there is no readout called {self.readout!r}: {', '.join(get_args(Readout))}")
        if self.readout == "mask" and self.max_length < 2:
            raise ValueError("with the readout mask, max_length is at least 2: an item and the mask token")
        self.mixer.check_heads(self.d_model)

    @property
    def masks(self) -> bool:
        """Whether the model has a mask token."""
        return self.readout == "mask"

    def build(self, item_count: int, words: ItemWords | None = None) -> "Hydra4Rec":
        """Return a freshly initialized Hydra4Rec."""
        return Hydra4Rec(self, item_count, words)

    @classmethod
    def recipe(cls, profile: Profile, histories: Histories) -> "tuple[Hydra4RecConfig, dict[str, Any]]":
        """Return "a custom Hydra layer that combines the Hydra block with a standard feed-forward network" (3.3).

        The published form, one layer read at the last position, leaves the backward half of its mixer without any
        gradient; ``best`` has two layers and is trained on masked items (cloze), as a model that is not causal may be.
        """
        paper = cls(
            max_length=MAX_LENGTH[histories],
            d_model=64,  # Mamba4Rec: hidden_size 64
            n_layers=1,  # Mamba4Rec: num_layers 1
            d_ff=256,  # "the same PFFN that was introduced in Mamba4Rec"
            dropout=0.2,  # Mamba4Rec: dropout_prob 0.2
            readout="last",  # "last item embedding is used to generate the final prediction scores" (3.3.1)
            # goombalab/hydra:hydra/modules/hydra.py: state 64, head width 64, convolution 7, expand 2
            mixer=HydraConfig(d_state=64, headdim=64, d_conv=7, expand=2, chunk_size=50),
            repeat_term=profile != "paper",
        )
        cloze = {"objective": "cloze", "mask_share": 0.3}
        match profile:
            case "paper":
                return paper, {}
            case "smoke":
                small = replace(paper.mixer, d_state=8, headdim=16)
                return replace(paper, d_model=16, d_ff=32, readout="mask", mixer=small), cloze
        lean = replace(paper.mixer, d_state=32, headdim=32)
        tuned = replace(paper, n_layers=2, readout="mask", mixer=lean, dropout=tuned_dropout(histories))
        longer = profile == "best" and histories == "long"  # 40 epochs of 30% of the items were few
        return tuned, {**cloze, "epochs": 70, "patience": 20} if longer else cloze


class Hydra4Rec(Recommender):
    """Items (B, L) to hidden states (B, L, D), each of which sees the whole row.

    With the readout ``mask`` the id V + 1 stands for a hidden item.
    """

    def __init__(self, config: Hydra4RecConfig, item_count: int, words: ItemWords | None = None) -> None:
        super().__init__(config)
        self.config = config
        self.item_count = item_count
        self.mask_token = item_count + 1 if config.readout == "mask" else None
        self.item_embedding = item_embedding(config, item_count, words, mask_token=config.masks)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.d_model, eps=1e-12)
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.n_layers))
        self.apply(initialize)

    def forward(self, items: Tensor, segments: Tensor | None = None, lengths: Tensor | None = None) -> Tensor:
        """Return hidden states (B, L, D), or (B, 1, D), for items (B, L); where an item is 0 they mean nothing."""
        present = items != 0
        x: Tensor = self.norm(self.dropout(self.item_embedding(items)))
        for layer in self.layers[:-1]:
            x = layer(x, present, segments, None)
        return self.layers[-1](x, present, segments, lengths)  # type: ignore[no-any-return]

    def item_vectors(self) -> Tensor:
        """Return the output vectors (V, D) of items 1..V: the mask token is nobody's next item."""
        return self.item_embedding.weight[1 : self.item_count + 1]

    def next_hidden(self, items: Tensor, lengths: Tensor) -> Tensor:
        """Return hidden states (B, D) of histories (B, L), of which the readout ``mask`` reads the last M - 1 items."""
        match self.config.readout:
            case "last":
                return super().next_hidden(items, lengths)
            case "mean":
                hidden: Tensor = self(items)
                return (hidden * valid_mask(lengths, items.shape[1])[..., None]).sum(1) / lengths[:, None]
            case "mask":
                return super().next_hidden(*self._ask(items, lengths))

    def _ask(self, items: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Return histories (B, up to M) that end with the mask token, and their lengths (B,) with it."""
        L = items.shape[1]
        kept = lengths.clamp(max=self.max_length - 1)[:, None]  # (B, 1)
        steps = torch.arange(min(L, self.max_length - 1) + 1, device=items.device)
        places = (lengths[:, None] - kept + steps).clamp(max=L - 1)
        asked = items.gather(1, places).scatter(1, kept, self.item_count + 1)
        return asked, kept[:, 0] + 1


class _Layer(nn.Module):
    def __init__(self, config: Hydra4RecConfig) -> None:
        super().__init__()
        self.mixer = Hydra(config.mixer, config.d_model)
        self.after = AfterMixer(config, residual=config.n_layers > 1)

    def forward(self, x: Tensor, present: Tensor, segments: Tensor | None, lengths: Tensor | None) -> Tensor:
        out: Tensor = self.after(x, self.mixer(x, present, segments, lengths), lengths)
        return out
