"""Evaluate one generative recommender: ``python -m ssm4rec.stages.evaluate_generator --help``."""

import logging
from collections.abc import Sequence

import numpy

from ssm4rec.artifacts.dataset import SequenceDataset, Split, read_sequences
from ssm4rec.artifacts.generations import GenerationRow, GenerationSummary, UserList, write_lists
from ssm4rec.artifacts.items import read_titles
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.names import CANDIDATES_PER_USER, MOST_POPULAR
from ssm4rec.artifacts.ranks import MISSED
from ssm4rec.artifacts.titles import check_titles_trained_with
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
    split, device = options.split, choose_device(options.device)
    dataset = read_sequences(options.dataset_dir)
    titles = read_titles(options.dataset_dir)
    check_titles(titles)
    facts = GeneratorFacts.read(options.generator_dir, dataset)
    check_titles_trained_with(options.generator_dir, facts.titles, titles)
    search = facts.recipe.search
    manifest = read_manifest(options.dataset_dir)
    labels = {"model": facts.model, "seed": str(facts.seed), "profile": facts.profile, **data_labels(manifest)}
    name = run_name(facts.model, manifest, facts.seed)
    with (
        tracked_task(name, {"stage": "evaluate-generator", "split": split, **labels}) as tracker,
        memory_advice("search.tokens_per_batch when training the generator"),
    ):
        tracker.settings({**labels, "source": facts.source})
        tracker.dataset(manifest, split)
        users = draw_users(dataset, split, search.users, facts.seed)
        if not len(users):
            raise InputError(f"data set {dataset.name}: no user is in the {split} split; nothing can be evaluated")
        generator = load_generator(options.generator_dir, facts.recipe, device)
        prompts = QueryPrompts(generator.tokenizer, titles, facts.recipe.prompt)
        asked, generated = ask(generator.model, prompts, search, dataset, split, users)
        index, lists = TitleIndex(titles, facts.k1, facts.b), []
        for user, known in zip(users.tolist(), asked, strict=True):
            items = merged_list(index, known, search.per_query, CANDIDATES_PER_USER)
            rank = rank_in(items, known.target)
            lists.append(UserList(user, known.target, len(known.seen), rank, items, known.queries))
        summary = GenerationSummary(
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            model=facts.model,
            seed=facts.seed,
            profile=facts.profile,
            split=split,
            source=facts.source,
            parameters=facts.parameters,
            from_scratch=facts.from_scratch,
            users=len(users),
            users_in_split=int((dataset.position(split) > 0).sum()),
            k1=facts.k1,
            b=facts.b,
            queries=search.queries,
            tokens_per_second=generated.tokens_per_second,
            batch=generated.batch,
            device=device.type,
            rows=_rows(facts, dataset, split, lists),
        )
        write_lists(options.lists, dataset, lists)
        summary.write(options.metrics)
        # Model and seed are known from the task.
        owners = {facts.model: "", MOST_POPULAR: f"{MOST_POPULAR}/"}
        shown = {f"{owners[row.model]}{row.protocol}/{row.metric}": row.value for row in summary.rows}
        shown["tokens_per_second"] = summary.tokens_per_second
        tracker.metrics(shown)
        tracker.text("generation.json", options.metrics.read_text(encoding="utf-8"))
    write_executor_output(options.executor_input, {"shown": {**shown}})
    logger.info(
        "%s%s: %d of %d users of %s, %d queries each, %.0f tokens/s (batches of %d users, %s)",
        facts.model, ", from scratch" if facts.from_scratch else "", summary.users, summary.users_in_split,
        split, summary.queries, summary.tokens_per_second, summary.batch, summary.device,
    )  # fmt: skip
    for owner in owners:
        at_10 = [row for row in summary.rows if row.model == owner and row.metric.endswith("@10")]
        values = ", ".join(f"{row.metric} {row.shown}" for row in at_10)
        logger.info("%s on %s, history masked: %s", owner, split, values)


def _rows(
    facts: GeneratorFacts, dataset: SequenceDataset, split: Split, lists: Sequence[UserList]
) -> tuple[GenerationRow, ...]:
    ranks = numpy.array([row.rank or MISSED for row in lists])
    cpu = choose_device("cpu")
    popular = full_ranking(most_popular_scorer(dataset, cpu), dataset, split, 1, cpu)
    of_users = numpy.searchsorted(popular.users, [row.user for row in lists])
    return (
        *generation_rows(dataset.name, facts.model, facts.seed, split, ranks),
        *generation_rows(dataset.name, MOST_POPULAR, None, split, popular.masked[of_users]),
    )


if __name__ == "__main__":
    run_stage(Settings.parser(), run)
