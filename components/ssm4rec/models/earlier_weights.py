"""The names that parameters had before 2026-11-29, so that weights and checkpoints of before still load."""

from typing import Final, TypeVar

T = TypeVar("T")

PARAMETERS: Final = {
    "project_in": "in_proj",
    "project_scan": "x_proj",
    "project_out": "out_proj",
    "convolution_weight": "conv1d_weight",
    "convolution_bias": "conv1d_bias",
    "dt_weight": "dt_proj_weight",
    "log_decay_rate": "A_log",
    "skip": "D",
    "diagonal": "fc_D",
}


def weights_of_today(weights: dict[str, T]) -> dict[str, T]:
    """Return weights by the names of today.

    >>> weights_of_today({"layers.0.mixer.project_in.weight": 1, "norm.bias": 2})
    {'layers.0.mixer.in_proj.weight': 1, 'norm.bias': 2}
    """
    return {".".join(PARAMETERS.get(part, part) for part in name.split(".")): held for name, held in weights.items()}
