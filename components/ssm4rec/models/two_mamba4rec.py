"""2Mamba4Rec: Mamba4Rec's architecture, "replacing the Mamba block with the Mamba2 block" (section 3.1)."""

from dataclasses import dataclass, replace
from typing import Any

from ssm4rec.models.item_words import ItemWords
from ssm4rec.models.mamba2 import Mamba2, Mamba2Config
from ssm4rec.models.mamba4rec import Mamba4Rec, shell_sizes
from ssm4rec.models.sizes import Histories, Profile, RecommenderConfig


@dataclass(frozen=True, kw_only=True)
class TwoMamba4RecConfig(RecommenderConfig):
    """Sizes and recipe of a 2Mamba4Rec; ``mixer`` is its Mamba-2 block."""

    mixer: Mamba2Config

    def __post_init__(self) -> None:
        super().__post_init__()
        self.mixer.check_heads(self.d_model)

    def build(self, item_count: int, words: ItemWords | None = None) -> Mamba4Rec:
        """Return a freshly initialized 2Mamba4Rec."""
        return Mamba4Rec(self, item_count, lambda: Mamba2(self.mixer, self.d_model), words)

    @classmethod
    def recipe(cls, profile: Profile, histories: Histories) -> "tuple[TwoMamba4RecConfig, dict[str, Any]]":
        """Return Mamba4Rec's sizes around a Mamba-2 block.

        State 128 and head width 64 are Mamba-2's defaults. With them one layer has 76,486 parameters, the paper's
        "80k"; Mamba4Rec's state of 32 would give 62k to 63k.
        """
        mixer = Mamba2Config(d_state=128, headdim=64, d_conv=4, expand=2, chunk_size=32)
        match profile:
            case "best" | "quick":
                mixer = replace(mixer, d_state=32, headdim=32)
            case "smoke":
                mixer = replace(mixer, d_state=8, headdim=16)
        return cls(mixer=mixer, **shell_sizes(profile, histories)), {}
