"""Fine-tune a language model to rank a retriever's candidates: ``python -m ssm4rec.stages.finetune_llm --help``."""

import hashlib
import logging
import time
from dataclasses import asdict
from pathlib import Path
from typing import Final

import torch

from ssm4rec.artifacts.candidates import Candidates, read_candidates
from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Curve, Point, Training, write_curve
from ssm4rec.artifacts.dataset import SequenceDataset, check_trained_on, read_sequences
from ssm4rec.artifacts.items import read_titles
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.artifacts.rankings import SHUFFLED_ORDER
from ssm4rec.artifacts.titles import titles_digest
from ssm4rec.llm.blending import best_weight
from ssm4rec.llm.candidates import ranking_task
from ssm4rec.llm.language_models import memory_advice
from ssm4rec.llm.ranking import answer_logits, questions
from ssm4rec.llm.sources import check_source_unchanged
from ssm4rec.llm.tuning import TuningData, tuning
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import cache_folder, held_by_this_process
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.finetune_llm.settings import Settings
from ssm4rec.tracking import RECIPE, tracked_task
from ssm4rec.training.checkpoint import checkpoint_name
from ssm4rec.training.device import choose_device
from ssm4rec.training.model_folder import read_model

logger = logging.getLogger(__name__)

_STAGE: Final = "finetune_llm"


def run(options: Settings) -> None:
    """Fine-tune and write the adapter and the learning curve."""
    recipe, device = options.recipe(), choose_device(options.device)
    dataset = read_sequences(options.dataset_dir)
    titles = read_titles(options.dataset_dir)
    candidates = read_candidates(options.candidates, dataset)
    validation = ranking_task(dataset, candidates, "validation", recipe.validation_users, options.seed)
    vectors = _retriever_vectors(options.retriever_dir, candidates, dataset) if options.retriever_dir else None
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
        torch.manual_seed(options.seed)  # of the new weights
        data = TuningData(dataset, titles, candidates, validation, options.seed, vectors)
        work = tuning(recipe, data, cache_folder(options.cache_dir), device)
        check_source_unchanged(options.language_model_version, recipe.source)
        identity = {
            "fingerprint": dataset.fingerprint,
            "seed": options.seed,
            "retriever": f"{candidates.model} seed {candidates.seed}",
            "recipe": asdict(recipe),
        }
        checkpoints = _checkpoint_folder(options, data)
        with memory_advice(work.to_lower), held_by_this_process(checkpoints):
            tuned = work.run(checkpoints, identity, track)
            asked = questions(work.ranker.prompts(titles, recipe.finetune.prompt), validation, [SHUFFLED_ORDER])
            scores = answer_logits(work.ranker.model, asked.users, asked.answers, lambda _: None)
        numbers = {
            "validation_ndcg@10": tuned.best.measured["ndcg@10"],
            "validation_users": len(validation.users),
            "best_prompts": work.seen(tuned.best.step),
            "prompts": work.seen(tuned.last.step),
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
            ranker=recipe.ranker,
            retriever_weight=best_weight(scores, validation, SHUFFLED_ORDER),
            titles=titles_digest(titles),
        )
        work.ranker.write(options.adapter_dir, facts)
        trained = Training(_STAGE, dataset.name, recipe.source, options.seed, *work.optimizer())
        seen = (Point(point.step, TRAIN, {"seen": work.seen(point.step)}) for point in tuned.points)
        write_curve(options.curve, Curve.of(trained, (*tuned.points, *seen)))
        tracker.metrics(numbers)
        tracker.artifact(options.adapter_dir)
    write_executor_output(options.executor_input, {"adapter": {**numbers}})
    logger.info(
        "%s: validation ndcg@10 %.4f after %d of %d prompts, %.0f tokens/s; written to %s",
        name, numbers["validation_ndcg@10"], numbers["best_prompts"], numbers["prompts"], numbers["tokens_per_second"],
        options.adapter_dir,
    )  # fmt: skip


def _retriever_vectors(folder: Path, candidates: Candidates, dataset: SequenceDataset) -> torch.Tensor:
    """Return the items' vectors (V, width) of the retriever; raise InputError if the candidates are not its own."""
    retriever = read_model(folder)
    check_trained_on(folder, retriever.config, dataset, "give the retriever of the candidates")
    if (retriever.config["model"], retriever.config["seed"]) != (candidates.model, candidates.seed):
        raise InputError(
            f"{folder}: {retriever.config['model']} seed {retriever.config['seed']}, but the candidates are those of "
            f"{candidates.model} seed {candidates.seed}; give that one's folder"
        )
    return retriever.model.item_vectors().detach().float()


def _checkpoint_folder(options: Settings, data: TuningData) -> Path:
    """Return a folder of this training's own: changed titles, candidates or a changed language model start again."""
    folder = Path(options.checkpoint_dir or f"{options.adapter_dir}.checkpoints")
    chosen = (options.recipe().ranker, options.language_model, options.language_model_version, options.overrides)
    retrieved = hashlib.sha256(data.candidates.items.tobytes())
    if data.vectors is not None:
        retrieved.update(data.vectors.numpy().tobytes())
    name = f"finetune-{data.candidates.model}-seed{options.seed}"
    return folder / checkpoint_name(name, *chosen, data.dataset.fingerprint, retrieved.hexdigest(), *data.titles)


if __name__ == "__main__":
    run_stage(Settings.parser(), run)
