"""From a recommender's configuration to the recommender."""

from dataclasses import replace
from typing import Any

from ssm4rec.artifacts.codec import checked
from ssm4rec.models.hydra4rec import Hydra4Rec, Hydra4RecConfig
from ssm4rec.models.lrurec import LRURec, LRURecConfig
from ssm4rec.models.mamba import MambaConfig
from ssm4rec.models.mamba2 import Mamba2Config
from ssm4rec.models.mamba4rec import Mamba4Rec, Mamba4RecConfig
from ssm4rec.models.recommender import Recommender
from ssm4rec.models.sasrec import SASRec, SASRecConfig

RecommenderConfig = SASRecConfig | Mamba4RecConfig | Hydra4RecConfig | LRURecConfig


def build_model(config: RecommenderConfig, item_count: int) -> Recommender:
    """Return a freshly initialized recommender of ``item_count`` items."""
    match config:
        case SASRecConfig():
            return SASRec(config, item_count)
        case Mamba4RecConfig():
            return Mamba4Rec(config, item_count)
        case Hydra4RecConfig():
            return Hydra4Rec(config, item_count)
        case LRURecConfig():
            return LRURec(config, item_count)


def config_from_json(name: str, document: dict[str, Any]) -> RecommenderConfig:
    """Return the configuration that ``dataclasses.asdict`` turned into ``document``, for the model called ``name``.

    Raises:
        ValueError: there is no such model, or a field is missing, unknown or not of its type.
    """
    match name:
        case "sasrec":
            return checked(document, SASRecConfig)
        case "mamba4rec":
            return replace(checked(document, Mamba4RecConfig), mixer=checked(_mixer(document), MambaConfig))
        case "2mamba4rec":
            return replace(checked(document, Mamba4RecConfig), mixer=checked(_mixer(document), Mamba2Config))
        case "hydra4rec":
            return checked(document, Hydra4RecConfig)
        case "lrurec":
            return checked(document, LRURecConfig)
        case _:
            raise ValueError(f"there is no model called {name!r}")


def _mixer(document: dict[str, Any]) -> dict[str, Any]:
    found = document.get("mixer")
    if not isinstance(found, dict):
        raise ValueError("mixer: Field required")
    return found
