"""Fine-tune one generative recommender on a dataset folder: ``python -m ssm4rec.stages.train_generator --help``."""

import logging
from dataclasses import asdict
from pathlib import Path

from ssm4rec.artifacts.curve import Curve, Point, Training, write_curve
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.items import read_titles
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.names import CANDIDATES_PER_USER
from ssm4rec.artifacts.titles import titles_digest
from ssm4rec.llm.generator_folder import GeneratorFacts, new_generator, write_generator
from ssm4rec.llm.generator_settings import SCRATCH
from ssm4rec.llm.generator_training import train_generator
from ssm4rec.llm.language_models import memory_advice
from ssm4rec.llm.queries import QueryPrompts, draw_users
from ssm4rec.llm.query_generation import ask
from ssm4rec.llm.sources import check_source_unchanged
from ssm4rec.llm.title_retrieval import check_titles, tune
from ssm4rec.runtime.files import cache_folder, held_by_this_process
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.train_generator.settings import Settings
from ssm4rec.tracking import RECIPE, tracked_task
from ssm4rec.training.checkpoint import checkpoint_name
from ssm4rec.training.device import choose_device
from ssm4rec.training.distributed import Distributed, choose_precision
from ssm4rec.training.task import Task

logger = logging.getLogger(__name__)

_SMALLER = "--overrides training.tokens_per_batch or training.rows_per_batch, then search.tokens_per_batch"


def _checkpoint_folder(options: Settings, dataset: SequenceDataset, titles: list[str]) -> Path:
    """Return a folder of this training's own: changed titles start again."""
    chosen = (options.language_model, options.language_model_version, options.overrides, dataset.fingerprint, *titles)
    folder = Path(options.checkpoint_dir or f"{options.generator_dir}.checkpoints")
    return folder / checkpoint_name(f"{options.model}-seed{options.seed}", *chosen)


def run(options: Settings) -> None:
    """Train, tune and write the generator and its learning curve."""
    recipe = options.recipe()
    dataset = read_sequences(options.dataset_dir)
    titles = read_titles(options.dataset_dir)
    check_titles(titles)
    task = Task(options.model, recipe, dataset, options.seed)
    device = choose_device(options.device)
    distributed = Distributed(device, choose_precision("auto", device))
    checkpoints = _checkpoint_folder(options, dataset, titles)
    manifest = read_manifest(options.dataset_dir)
    labels = {"model": task.name, "seed": str(task.seed), **data_labels(manifest)}
    tags = {"stage": "train-generator", "profile": options.profile, **labels}
    name = run_name(task.name, manifest, task.seed, "train")
    with tracked_task(name, tags) as tracker, memory_advice(_SMALLER):
        computed = {"device": device.type, "precision": distributed.precision}
        described = {"profile": options.profile, **asdict(recipe)}
        tracker.settings({**labels, RECIPE: described, "computed": computed})
        tracker.dataset(manifest, "training")

        def track(point: Point) -> None:
            named = {f"{point.split}_loss" if name == "loss" else name: name for name in point.measured}
            epoch = int(point.measured[named.pop("epoch")])
            tracker.metrics({shown: point.measured[name] for shown, name in named.items()}, epoch)

        generator = new_generator(recipe, titles, cache_folder(options.cache_dir), device, task.seed)
        check_source_unchanged(options.language_model_version, recipe.source)
        prompts = QueryPrompts(generator.tokenizer, titles, recipe.prompt)
        with held_by_this_process(checkpoints):
            trained = train_generator(task, generator.model, prompts, distributed, checkpoints, track)
        search = recipe.search
        users = draw_users(dataset, "validation", search.tuning_users, task.seed)
        asked, _ = ask(generator.model, prompts, search, dataset, "validation", users)
        tuned = tune(titles, asked, search.per_query, CANDIDATES_PER_USER)
        k1, b = max(tuned, key=lambda pair: tuned[pair])
        facts = GeneratorFacts(
            model=task.name,
            source=recipe.source,
            from_scratch=recipe.source.startswith(SCRATCH),
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            seed=task.seed,
            profile=options.profile,
            parameters=sum(weights.numel() for weights in generator.model.parameters()),
            k1=k1,
            b=b,
            recipe=recipe,
            training={
                "epochs": trained.last.values["epoch"],
                "best_epoch": trained.best.values["epoch"],
                "validation_loss": trained.best.values["loss"],
                "tuning": [{"k1": k1, "b": b, "ndcg@10": value} for (k1, b), value in tuned.items()],
                "device": device.type,
                "precision": distributed.precision,
            },
            titles=titles_digest(titles),
        )
        write_generator(options.generator_dir, generator, facts)
        rate = recipe.training.learning_rate
        training = Training("train_generator", dataset.name, task.name, task.seed, "adamw", rate)
        write_curve(options.curve, Curve.of(training, trained.points))
        shown = {
            "parameters": facts.parameters,
            "best_epoch": facts.training["best_epoch"],
            "validation_loss": facts.training["validation_loss"],
            "validation_ndcg@10": max(tuned.values()),
            "k1": k1,
            "b": b,
        }
        tracker.metrics(shown)
        tracker.artifact(options.generator_dir)
    write_executor_output(options.executor_input, {"generator": shown})
    logger.info(
        "%s: %s parameters%s, best epoch %d of %d, k1 %g, b %g, validation ndcg@10 %.4f; written to %s",
        task.name, f"{facts.parameters:,}", ", from scratch" if facts.from_scratch else "",
        shown["best_epoch"], facts.training["epochs"], facts.k1, facts.b, shown["validation_ndcg@10"],
        options.generator_dir,
    )  # fmt: skip


if __name__ == "__main__":
    run_stage(Settings.parser(), run)
