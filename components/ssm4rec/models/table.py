"""The recommenders, one row each. It loads no torch, so command lines and pipelines know the names without it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

from ssm4rec.artifacts.codec import checked

if TYPE_CHECKING:
    from ssm4rec.models.sizes import RecommenderConfig

CONFIGS: Final = {
    "sasrec": "sasrec.SASRecConfig",
    "mamba4rec": "mamba4rec.Mamba4RecConfig",
    "2mamba4rec": "two_mamba4rec.TwoMamba4RecConfig",
    "hydra4rec": "hydra4rec.Hydra4RecConfig",
    "lrurec": "lrurec.LRURecConfig",
}
"""For each name used on command lines and in MLflow, the configuration in ``models/`` that knows the recommender's
sizes, recipe and builder (``sizes.py``)."""

MODELS: Final = tuple(CONFIGS)
"""Recommenders that ``train_recommender`` can train."""


def config_class(name: str) -> "type[RecommenderConfig]":
    """Return the configuration of the model called ``name``; raise ValueError if there is no such model."""
    if name not in CONFIGS:
        raise ValueError(f"there is no model called {name!r}")
    module, _, found = CONFIGS[name].partition(".")
    return getattr(import_module(f"ssm4rec.models.{module}"), found)  # type: ignore[no-any-return] # the row says so


def config_from_json(name: str, document: dict[str, Any]) -> "RecommenderConfig":
    """Return the configuration that ``dataclasses.asdict`` turned into ``document``, for the model called ``name``.

    Raise ValueError if there is no such model, or a field is missing, unknown or not of its type.
    """
    return checked(document, config_class(name))
