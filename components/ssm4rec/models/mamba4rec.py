"""Mamba4Rec: a shell around a sequence mixer, and a Mamba block in it; 2Mamba4Rec has another (two_mamba4rec.py).

Liu et al. (2024), chengkai-liu/Mamba4Rec:mamba4rec.py: item embedding (no positions: the mixer is recurrent) ->
dropout -> LayerNorm -> layers of [mixer -> LN(drop(h)), plus the residual when there is more than one layer ->
position-wise feed-forward: LN(x + drop(W2 drop(gelu(W1 x))))] -> tied output.

Shapes: B batch, L length, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from ssm4rec.models.item_words import ItemWords
from ssm4rec.models.mamba import Mamba, MambaConfig
from ssm4rec.models.recommender import initialize
from ssm4rec.models.serving import RecurrentRecommender
from ssm4rec.models.sizes import MAX_LENGTH, Histories, Profile, RecommenderConfig, tuned_dropout


@dataclass(frozen=True, kw_only=True)
class Mamba4RecConfig(RecommenderConfig):
    """Sizes and recipe of a Mamba4Rec; ``mixer`` is its Mamba block."""

    mixer: MambaConfig

    def build(self, item_count: int, words: ItemWords | None = None) -> "Mamba4Rec":
        """Return a freshly initialized Mamba4Rec."""
        return Mamba4Rec(self, item_count, lambda: Mamba(self.mixer, self.d_model), words)

    @classmethod
    def recipe(cls, profile: Profile, histories: Histories) -> "tuple[Mamba4RecConfig, dict[str, Any]]":
        """Return Liu et al.'s setting (chengkai-liu/Mamba4Rec:config.yaml)."""
        mixer = MambaConfig(d_state=32, d_conv=4, expand=2, dt_rank=0, init="paper")
        match profile:
            case "best" | "quick":
                mixer = replace(mixer, init="mamba")
            case "smoke":
                mixer = replace(mixer, d_state=8)
        return cls(mixer=mixer, **shell_sizes(profile, histories)), {}


def shell_sizes(profile: Profile, histories: Histories) -> dict[str, Any]:
    """Return the fields of a configuration but its mixer."""
    paper = {
        "max_length": MAX_LENGTH[histories],
        "d_model": 64,  # Mamba4Rec: hidden_size 64
        "n_layers": 1,  # Mamba4Rec: num_layers 1
        "d_ff": 256,  # "W1 in R^(D x 4D)"
        "dropout": 0.2,  # Mamba4Rec: dropout_prob 0.2
        "repeat_term": profile != "paper",
    }
    match profile:
        case "best":
            return {**paper, "n_layers": 2, "dropout": tuned_dropout(histories)}
        case "smoke":
            return {**paper, "d_model": 16, "d_ff": 32}
    return paper


class Mamba4Rec(RecurrentRecommender):
    """Items (B, L) to hidden states (B, L, D) through recurrent mixers."""

    def __init__(
        self,
        config: RecommenderConfig,
        item_count: int,
        build_mixer: Callable[[], nn.Module],
        words: ItemWords | None = None,
    ) -> None:
        super().__init__(config, item_count, build_mixer, words, residual=config.n_layers > 1)
        self.apply(initialize)
