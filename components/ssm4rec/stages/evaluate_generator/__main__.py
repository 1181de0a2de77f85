"""Evaluate one generative recommender: ``python -m ssm4rec.stages.evaluate_generator --help``."""

import logging

import numpy

from ssm4rec.artifacts.dataset import Int64s, SequenceDataset, read_sequences, read_titles
from ssm4rec.artifacts.generations import GenerationRow, GenerationSummary, UserList, write_lists
from ssm4rec.artifacts.manifest import read_manifest
from ssm4rec.artifacts.names import CANDIDATES_PER_USER, MOST_POPULAR
from ssm4rec.artifacts.ranks import MISSED
from ssm4rec.evaluation.baselines import most_popular_scorer
from ssm4rec.evaluation.full_ranking import full_ranking
from ssm4rec.llm.generator_folder import GeneratorFacts, load_generator
from ssm4rec.llm.language_models import memory_advice
from ssm4rec.llm.metric_rows import generation_rows
from ssm4rec.llm.queries import QueryPrompts, draw_users
from ssm4rec.llm.query_generation import ask
from ssm4rec.llm.title_retrieval import TitleIndex, check_titles, merged_list, rank_in
from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.evaluate_generator.settings import Settings
from ssm4rec.tracking import tracked_task
from ssm4rec.training.device import choose_device

logger = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Evaluate and write lists and metrics."""
    dataset = read_sequences(options.dataset_dir)
    titles = read_titles(options.dataset_dir)
    check_titles(titles)
    facts = GeneratorFacts.read(options.generator_dir, dataset)
    labels = {"model": facts.model, "dataset": dataset.name, "seed": str(facts.seed), "profile": facts.profile}
    name = f"evaluate {facts.model} {dataset.name} seed {facts.seed}"
    with (
        tracked_task(name, {"stage": "evaluate-generator", "split": options.split, **labels}) as tracker,
        memory_advice("search.tokens_per_batch when training the generator"),
    ):
        tracker.settings({**labels, "source": facts.source})
        tracker.dataset(read_manifest(options.dataset_dir), options.split)
        summary = _evaluate(options, dataset, titles, facts)
        shown = {_shown_name(row): row.value for row in summary.rows}
        shown["tokens_per_second"] = summary.tokens_per_second
        tracker.metrics(shown)
        tracker.text("generation.json", options.metrics.read_text(encoding="utf-8"))
    write_executor_output(options.executor_input, {"shown": {**shown}})
    logger.info(
        "%s%s: %d of %d users of %s, %d queries each, %.0f tokens/s (batches of %d users, %s)",
        facts.model, ", from scratch" if facts.from_scratch else "", summary.users, summary.users_in_split,
        options.split, summary.queries, summary.tokens_per_second, summary.batch, summary.device,
    )  # fmt: skip
    for owner in (facts.model, MOST_POPULAR):
        at_10 = [row for row in summary.rows if row.model == owner and row.metric.endswith("@10")]
        values = ", ".join(f"{row.metric} {row.shown}" for row in at_10)
        logger.info("%s on %s, history masked: %s", owner, options.split, values)


def _evaluate(
    options: Settings, dataset: SequenceDataset, titles: list[str], facts: GeneratorFacts
) -> GenerationSummary:
    """Generate, search, write both files and return the summary."""
    device, recipe = choose_device(options.device), facts.recipe
    search = recipe.search
    users = draw_users(dataset, options.split, search.users, facts.seed)
    if not len(users):
        raise InputError(f"data set {dataset.name}: no user is in the {options.split} split; nothing can be evaluated")
    generator = load_generator(options.generator_dir, recipe, device)
    prompts = QueryPrompts(generator.tokenizer, titles, recipe.prompt)
    asked, generated = ask(generator.model, prompts, search, dataset, options.split, users)
    index, lists = TitleIndex(titles, facts.k1, facts.b), []
    for user, known in zip(users.tolist(), asked, strict=True):
        items = merged_list(index, known, search.per_query, CANDIDATES_PER_USER)
        lists.append(UserList(user, known.target, len(known.seen), rank_in(items, known.target), items, known.queries))
    ranks = numpy.array([row.rank or MISSED for row in lists])
    popular = _most_popular_ranks(options, dataset, users)
    summary = GenerationSummary(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        model=facts.model,
        seed=facts.seed,
        profile=facts.profile,
        split=options.split,
        source=facts.source,
        parameters=facts.parameters,
        from_scratch=facts.from_scratch,
        users=len(users),
        users_in_split=int((dataset.position(options.split) > 0).sum()),
        k1=facts.k1,
        b=facts.b,
        queries=search.queries,
        tokens_per_second=generated.tokens_per_second,
        batch=generated.batch,
        device=device.type,
        rows=(
            *generation_rows(dataset.name, facts.model, facts.seed, options.split, ranks),
            *generation_rows(dataset.name, MOST_POPULAR, None, options.split, popular),
        ),
    )
    write_lists(options.lists, dataset, lists)
    summary.write(options.metrics)
    return summary


def _most_popular_ranks(options: Settings, dataset: SequenceDataset, users: Int64s) -> Int64s:
    """Return the baseline's ranks for the same users, the history masked."""
    device = choose_device("cpu")
    ranking = full_ranking(most_popular_scorer(dataset, device), dataset, options.split, 1, device)
    ranks: Int64s = ranking.masked[numpy.searchsorted(ranking.users, users)]
    return ranks


def _shown_name(row: GenerationRow) -> str:
    """Name a number for the KFP UI and MLflow, where model and seed are known from the task."""
    owner = f"{row.model}/" if row.model == MOST_POPULAR else ""
    return f"{owner}{row.protocol}/{row.metric}"


if __name__ == "__main__":
    run_stage(Settings.parser(), run)
