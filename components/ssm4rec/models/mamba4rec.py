"""The Mamba4Rec shell around a sequence mixer: Mamba4Rec with a Mamba block in it, 2Mamba4Rec with a Mamba-2 block.

Liu et al. (2024), chengkai-liu/Mamba4Rec:mamba4rec.py: item embedding (no positions: the mixer is recurrent) ->
dropout -> LayerNorm -> layers of [mixer -> LN(drop(h)), plus the residual when there is more than one layer ->
position-wise feed-forward: LN(x + drop(W2 drop(gelu(W1 x))))] -> tied output.

Shapes: B batch, L length, D width.
"""

from dataclasses import dataclass

from torch import nn

from ssm4rec.models.feed_forward import AfterMixer
from ssm4rec.models.mamba import Mamba, MambaConfig
from ssm4rec.models.mamba2 import Mamba2, Mamba2Config
from ssm4rec.models.recommender import RecommenderSizes, initialize, item_embedding
from ssm4rec.models.serving import RecurrentLayer, RecurrentRecommender


@dataclass(frozen=True, kw_only=True)
class Mamba4RecConfig(RecommenderSizes):
    """Sizes of the shell, and the mixer in it.

    Attributes:
        mixer: whose sizes decide which block it is.
    """

    mixer: MambaConfig | Mamba2Config

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.mixer, Mamba2Config):
            self.mixer.check_width(self.width)


class Mamba4Rec(RecurrentRecommender):
    """Items (B, L) to hidden states (B, L, D) through recurrent mixers."""

    def __init__(self, config: Mamba4RecConfig, item_count: int) -> None:
        super().__init__(config)
        self.config = config
        self.item_embedding = item_embedding(item_count, config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.norm = nn.LayerNorm(config.width, eps=1e-12)
        self.layers = nn.ModuleList(_layer(config) for _ in range(config.layers))
        self.apply(initialize)


def _layer(config: Mamba4RecConfig) -> RecurrentLayer:
    match config.mixer:
        case MambaConfig():
            mixer: nn.Module = Mamba(config.mixer, config.width)
        case Mamba2Config():
            mixer = Mamba2(config.mixer, config.width)
    after = AfterMixer(config.width, config.inner_width, config.dropout, residual=config.layers > 1)
    return RecurrentLayer(mixer, after)
