"""Names of before, of recommenders' recipes and of metrics: files and commands that say them still work.

Files (config.json, metrics.json, checkpoints) are read with the names of today for good; in ``--overrides`` an old name
works for one release, with a warning.
"""

from collections.abc import Mapping
from typing import Any, Final

FIELDS: Final = {
    "maximum_length": "max_length",
    "width": "d_model",
    "inner_width": "d_ff",
    "layers": "n_layers",
    "heads": "n_heads",
    "state_size": "d_state",
    "head_width": "headdim",
    "convolution_width": "d_conv",
    "chunk_length": "chunk_size",
    "stretches": "crops",
}
METRICS: Final = {"hit_10": "hit@10", "ndcg_10": "ndcg@10", "validation_ndcg_10": "validation_ndcg@10"}
"""In learning curves, in checkpoints of language models and in ranker.json."""

VALUES: Final = {"crops": {"one": "random"}}
"""What the values of a field, by its name of today, were called."""


ADDED: Final[dict[str, dict[str, Any]]] = {
    "model": {"item_vectors": "id", "id_dropout": 0.2, "vocabulary": 2048},
    "training": {"frozen_epochs": 0, "users_share": 1.0},
}
"""Fields that the recipes of checkpoints may lack, and what was meant then."""


def metrics_of_today(named: Mapping[str, Any]) -> dict[str, Any]:
    """Return numbers with the names of today.

    >>> metrics_of_today({"ndcg_10": 0.5, "loss": 1.0})
    {'ndcg@10': 0.5, 'loss': 1.0}
    """
    return {METRICS.get(name, name): value for name, value in named.items()}


def recipe_of_today(part: Any) -> Any:
    """Return a recommender's recipe, or a part of it, as JSON has it, with the names of today.

    >>> recipe_of_today({"model": {"width": 64, "dropout": 0.2}, "training": {"stretches": "one"}})
    {'model': {'d_model': 64, 'dropout': 0.2}, 'training': {'crops': 'random'}}
    """
    if not isinstance(part, dict):
        return part
    names = {name: str(FIELDS.get(name, name)) for name in part}
    return {today: value_of_today(today, recipe_of_today(part[name])) for name, today in names.items()}


def with_added(recipe: dict[str, Any]) -> dict[str, Any]:
    """Return the recipe of a recommender's checkpoint with what it meant without saying so.

    >>> with_added({"model": {"item_vectors": "text"}, "training": {}})["model"]
    {'item_vectors': 'text', 'id_dropout': 0.2, 'vocabulary': 2048}
    """
    return {**recipe, **{section: {**added, **recipe[section]} for section, added in ADDED.items()}}


def value_of_today(name: str, value: Any) -> Any:
    """Return the value of a field, by its name of today, as it is called today."""
    return VALUES.get(name, {}).get(value, value) if isinstance(value, str) else value


def override_of_today(path: str) -> str:
    """Return the name in a pair of ``--overrides`` as it is today.

    >>> override_of_today("model.mixer.state_size")
    'model.mixer.d_state'
    """
    return ".".join(FIELDS.get(name, name) for name in path.split("."))


def overrides_of_before(pairs: str) -> str:
    """Return ``--overrides`` under the names of before, so that both ways to say one thing are one text.

    >>> overrides_of_before("training.crops=random,model.d_model=64"), overrides_of_before("model.width=64")
    ('training.stretches=one,model.width=64', 'model.width=64')
    """
    return ",".join(map(_pair_of_before, pairs.split(",")))


def _pair_of_before(pair: str) -> str:
    path, equals, text = pair.partition("=")
    *sections, last = path.split(".")
    values = {today: before for before, today in VALUES.get(last, {}).items()}
    names = {today: before for before, today in FIELDS.items()}
    return ".".join([*sections, names.get(last, last)]) + equals + values.get(text, text)
