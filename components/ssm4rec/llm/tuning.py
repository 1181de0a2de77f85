"""The two ways to fine-tune a ranker, which ``finetune_llm`` runs alike: on letters, and on items."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch

from ssm4rec.artifacts.candidates import Candidates
from ssm4rec.artifacts.curve import Point
from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.llm.adapters import new_ranker
from ssm4rec.llm.candidates import RankingTask
from ssm4rec.llm.examples import draw_examples
from ssm4rec.llm.finetuning import FinetuningTask, finetune
from ssm4rec.llm.item_finetuning import ItemTask, draw_batches, train_items
from ssm4rec.llm.item_ranker import Catalog, new_item_ranker
from ssm4rec.llm.rankers import Ranker
from ssm4rec.llm.settings import RankerRecipe
from ssm4rec.llm.validated_trainer import Trained


@dataclass(frozen=True)
class TuningData:
    """What a ranker learns from: training items, their titles, a retriever's candidates, and whom to rank meanwhile.

    ``vectors``: the retriever's, of the items (V, width), if they are known.
    """

    dataset: SequenceDataset
    titles: list[str]
    candidates: Candidates
    validation: RankingTask
    seed: int
    vectors: torch.Tensor | None = None


class Tuning(Protocol):
    """A fine-tuning before it runs; its ranker has the weights that it begins with, and afterwards the best."""

    to_lower: str
    """Settings that a GPU's memory depends on."""

    @property
    def ranker(self) -> Ranker:
        """What is trained."""
        ...

    def optimizer(self) -> tuple[str, float]:
        """Return the optimizer, and the setting that matters most: the peak rate, or USGM's diameter."""
        ...

    def seen(self, step: int) -> int:
        """Return how many prompts (or positions of a sequence) were answered in training after so many steps."""
        ...

    def run(self, folder: Path, identity: dict[str, Any], on_point: Callable[[Point], None]) -> Trained:
        """Train; see :class:`ValidationCallback` for the arguments."""
        ...


def tuning(recipe: RankerRecipe, data: TuningData, cache_dir: Path, device: torch.device) -> Tuning:
    """Return the fine-tuning that a recipe asks for; raise InputError if the language model cannot be had, or fit."""
    return (_ItemTuning if recipe.ranker == "items" else _LetterTuning)(recipe, data, cache_dir, device)


class _LetterTuning:
    to_lower = "finetune.steps.batch, finetune.prompt.history or finetune.prompt.title_tokens, or set quantization=nf4"

    def __init__(self, recipe: RankerRecipe, data: TuningData, cache_dir: Path, device: torch.device) -> None:
        settings, self.settings = recipe.finetune, recipe.finetune
        self.ranker = new_ranker(recipe.source, recipe.quantization, settings.lora, cache_dir, device)
        retrieved = data.candidates.items[data.candidates.items > 0]
        examples = draw_examples(
            data.dataset, settings.prompts, settings.negatives, settings.hard, retrieved, data.seed
        )
        prompts = self.ranker.prompts(data.titles, settings.prompt)
        self.task = FinetuningTask(prompts, list(examples), data.validation, settings, data.seed)

    def optimizer(self) -> tuple[str, float]:
        return self.settings.steps.optimizer, self.settings.steps.scale

    def seen(self, step: int) -> int:
        return step * self.settings.steps.prompts

    def run(self, folder: Path, identity: dict[str, Any], on_point: Callable[[Point], None]) -> Trained:
        return finetune(self.ranker, self.task, folder, identity, on_point)


class _ItemTuning:
    to_lower = "items.positions, items.history or items.layers"

    def __init__(self, recipe: RankerRecipe, data: TuningData, cache_dir: Path, device: torch.device) -> None:
        catalog = Catalog(data.titles, data.dataset.training_counts(), data.vectors)
        self.ranker = new_item_ranker(recipe.source, recipe.items, catalog, cache_dir, device)
        batches = draw_batches(data.dataset, recipe.items, data.seed)
        self.task = ItemTask(data.dataset, batches, data.validation, data.seed)

    def optimizer(self) -> tuple[str, float]:
        return "adamw", self.ranker.settings.learning_rate

    def seen(self, step: int) -> int:
        return self.task.predicted(step)

    def run(self, folder: Path, identity: dict[str, Any], on_point: Callable[[Point], None]) -> Trained:
        return train_items(self.ranker, self.task, folder, identity, on_point)
