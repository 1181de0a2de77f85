"""What one training is, recommenders' and generators' alike."""

import json
from dataclasses import asdict, dataclass, field
from typing import Any, Generic, TypeVar, cast

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.training.start import Start

RecipeT = TypeVar("RecipeT")


@dataclass(frozen=True)
class Task(Generic[RecipeT]):
    """One training: this recipe, called this, on this data, from this seed."""

    name: str
    recipe: RecipeT
    dataset: SequenceDataset
    seed: int
    start: Start = field(default_factory=Start)

    def identity(self) -> dict[str, Any]:
        """Return what a checkpoint must share with a task to belong to it, as it looks after a trip through JSON."""
        document = {
            "model": self.name,
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "seed": self.seed,
            "recipe": asdict(cast("Any", self.recipe)),  # a dataclass
            **self.start.identity(),
        }
        return json.loads(json.dumps(document))  # type: ignore[no-any-return]
