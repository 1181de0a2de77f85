"""What a training says of itself in config.json of a model folder and in metrics.json."""

from pathlib import Path
from typing import Annotated, Any, NotRequired, cast

from pydantic import AfterValidator, with_config
from typing_extensions import TypedDict

from ssm4rec.artifacts.codec import OPEN, Amount, Count, Positive, Share, read_document, shape
from ssm4rec.artifacts.earlier_names import recipe_of_today
from ssm4rec.artifacts.names import CHAMPION, CHAMPION_MODEL, MODEL_CONFIG
from ssm4rec.runtime.errors import InputError

# "@" is in no name of a class's field.
_Training = TypedDict(
    "_Training",
    {
        "epochs": Positive,
        "best_epoch": Positive,
        "stopped": str,
        "validation_ndcg@10": Share,
        "cpu_seconds": Amount,
        "seconds": NotRequired[Amount],  # these are missing in files of earlier versions
        "package_joules": NotRequired[Amount],  # and these two where a machine does not count them
        "gpu_joules": NotRequired[Amount],
        "device": NotRequired[str],
        "processes": NotRequired[Positive],
        "flops": NotRequired[Count],  # these three where they were counted
        "output_flops": NotRequired[Count],
        "targets_seen": NotRequired[Count],
    },
)
with_config(OPEN)(_Training)


@with_config(OPEN)
class _Recipe(TypedDict):
    model: dict[str, Any]
    training: dict[str, Any]


TrainingFacts = Annotated[dict[str, Any], shape(_Training)]
"""How a training went."""
RecipeParts = Annotated[dict[str, Any], shape(_Recipe), AfterValidator(recipe_of_today)]
"""The recipe of a recommender: ``model`` and ``training``."""


@with_config(OPEN)
class ModelConfig(TypedDict):
    """config.json of a model folder; ``training/model_folder.py`` describes it."""

    model: str
    profile: str
    label: NotRequired[str]
    seed: Count
    dataset: str
    fingerprint: str
    initial_model: NotRequired[str]  # digest of the weights that the training began with
    items: Positive
    added_items: NotRequired[Count]  # the last of them, in a champion's
    recipe: RecipeParts
    parameters: Count
    parameters_without_embeddings: Count
    training: TrainingFacts


def read_config(folder: Path) -> dict[str, Any]:
    """Read a model folder's config.json; raise InputError if it is missing or not one of a recommender."""
    if (folder / CHAMPION).exists():
        raise InputError(
            f"{folder}: a champion folder of register_champion, not a model folder; give one of train_recommender, or "
            f"the champion's own, {folder / CHAMPION_MODEL}"
        )
    config: dict[str, Any] = read_document(
        folder / MODEL_CONFIG, cast("Any", ModelConfig), "the config of a recommender", "train_recommender"
    )
    return config
