"""Fine-tune a language model to rank a retriever's candidates: ``python -m ssm4rec.stages.finetune_llm --help``."""

import hashlib
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, Point, Training, write_curve
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences, read_titles
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.artifacts.ranks import Candidates, read_candidates
from ssm4rec.llm.adapters import new_ranker, write_adapter
from ssm4rec.llm.candidates import ranking_task
from ssm4rec.llm.examples import draw_examples
from ssm4rec.llm.finetuning import FinetuningTask, finetune
from ssm4rec.llm.language_models import memory_advice
from ssm4rec.llm.prompts import RankingPrompts
from ssm4rec.llm.sources import check_source_unchanged
from ssm4rec.runtime.files import cache_folder, held_by_this_process
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.finetune_llm.settings import Settings
from ssm4rec.tracking import RECIPE, tracked_task
from ssm4rec.training.checkpoint import checkpoint_name
from ssm4rec.training.device import choose_device

logger = logging.getLogger(__name__)

_STAGE: Final = "finetune_llm"
_TO_LOWER: Final = (
    "finetune.steps.batch, finetune.prompt.history or finetune.prompt.title_tokens, or set quantization=nf4"
)


def run(options: Settings) -> None:
    """Fine-tune and write the adapter and the learning curve."""
    recipe, device = options.recipe(), choose_device(options.device)
    settings, steps = recipe.finetune, recipe.finetune.steps
    dataset = read_sequences(options.dataset_dir)
    titles = read_titles(options.dataset_dir)
    candidates = read_candidates(options.candidates, dataset)
    validation = ranking_task(dataset, candidates, "validation", settings.validation_users, options.seed)
    manifest = read_manifest(options.dataset_dir)
    labels = {**data_labels(manifest), "seed": str(options.seed), "retriever": candidates.model}
    tags = {"stage": "finetune-llm", "profile": options.profile, "language_model": recipe.source, **labels}
    name = run_name(recipe.source, manifest, options.seed, "finetune")
    with tracked_task(name, tags) as tracker:
        described = {"profile": options.profile, **asdict(recipe)}
        tracker.settings({**labels, RECIPE: described, "computed": {"device": device.type}})
        tracker.dataset(manifest, "training")

        def track(point: Point) -> None:
            prefix = "validation_" if point.split == VALIDATION else ""
            tracker.metrics({f"{prefix}{name}": value for name, value in point.measured.items()}, point.step)

        started = time.monotonic()
        torch.manual_seed(options.seed)  # of the LoRA matrices
        ranker = new_ranker(recipe.source, recipe.quantization, settings.lora, cache_folder(options.cache_dir), device)
        check_source_unchanged(options.language_model_version, recipe.source)
        prompts = RankingPrompts(ranker.tokenizer, titles, settings.prompt)
        retrieved = candidates.items[candidates.items > 0]
        examples = draw_examples(dataset, settings.prompts, settings.negatives, settings.hard, retrieved, options.seed)
        task = FinetuningTask(prompts, list(examples), validation, settings, options.seed)
        identity = {
            "fingerprint": dataset.fingerprint,
            "seed": options.seed,
            "retriever": f"{candidates.model} seed {candidates.seed}",
            "recipe": asdict(recipe),
        }
        checkpoints = _checkpoint_folder(options, dataset, titles, candidates)
        with memory_advice(_TO_LOWER), held_by_this_process(checkpoints):
            tuned = finetune(ranker, task, checkpoints, identity, track)
        numbers = {
            "validation_ndcg_10": tuned.best.measured["ndcg_10"],
            "best_prompts": tuned.best.step * steps.prompts,
            "prompts": tuned.last.step * steps.prompts,
            "seconds": round(time.monotonic() - started, 1),
            "tokens_per_second": round(tuned.tokens_per_second, 1),
            "peak_memory_mib": tuned.peak_memory_bytes / 2**20,
        }
        facts = RankerFacts(
            source=recipe.source,
            quantization=recipe.quantization,
            stage=_STAGE,
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            seed=options.seed,
            profile=options.profile,
            retriever=candidates.model,
            recipe=asdict(recipe),
            training={**numbers, "device": device.type},
            label=options.label,
        )
        write_adapter(options.adapter_dir, ranker.model, facts)
        trained = Training(_STAGE, dataset.name, recipe.source, options.seed, steps.optimizer, steps.scale)
        seen = (Point(point.step, TRAIN, {"seen": point.step * steps.prompts}) for point in tuned.points)
        write_curve(options.curve, Curve.of(trained, (*tuned.points, *seen)))
        tracker.metrics(numbers)
        tracker.artifact(options.adapter_dir)
    write_executor_output(options.executor_input, {"adapter": {**numbers}})
    logger.info(
        "%s: validation ndcg@10 %.4f after %d of %d prompts, %.0f tokens/s; written to %s",
        name, numbers["validation_ndcg_10"], numbers["best_prompts"], numbers["prompts"], numbers["tokens_per_second"],
        options.adapter_dir,
    )  # fmt: skip


def _checkpoint_folder(options: Settings, dataset: SequenceDataset, titles: list[str], candidates: Candidates) -> Path:
    """Return a folder of this training's own: changed titles, candidates or a changed language model start again."""
    folder = Path(options.checkpoint_dir or f"{options.adapter_dir}.checkpoints")
    chosen = (options.language_model, options.language_model_version, options.overrides)
    retrieved = hashlib.sha256(candidates.items.tobytes()).hexdigest()
    name = f"finetune-{candidates.model}-seed{options.seed}"
    return folder / checkpoint_name(name, *chosen, dataset.fingerprint, retrieved, *titles)


if __name__ == "__main__":
    run_stage(Settings.parser(), run)
