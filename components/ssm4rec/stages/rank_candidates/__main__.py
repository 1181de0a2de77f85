"""Rank a retriever's candidates by a language model: ``python -m ssm4rec.stages.rank_candidates --help``."""

import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext

import numpy
import torch
from tqdm import tqdm

from ssm4rec.artifacts.candidates import read_candidates
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.items import read_titles
from ssm4rec.artifacts.manifest import data_labels, read_manifest, run_name
from ssm4rec.artifacts.names import CANDIDATES_PER_USER, MOST_POPULAR
from ssm4rec.artifacts.ranker import RankerFacts
from ssm4rec.artifacts.rankings import (
    ALIGNED,
    AMONG_CANDIDATES,
    BASE,
    BLENDED,
    FINETUNED,
    ORDERS,
    RETRIEVER,
    RETRIEVER_ORDER,
    WINNERS,
    Ranking,
    RankingSummary,
    trained_state,
    write_rankings,
)
from ssm4rec.artifacts.titles import check_titles_trained_with
from ssm4rec.llm.blending import blended, retriever_scores
from ssm4rec.llm.candidates import RankingTask, ranking_task
from ssm4rec.llm.language_models import memory_advice
from ssm4rec.llm.metric_rows import ranking_rows
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.rankers import Ranker, load_ranker
from ssm4rec.llm.ranking import Floats, Questions, answer_logits, questions, ranks_of_target
from ssm4rec.llm.sources import check_source_unchanged
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import cache_folder
from ssm4rec.settings.command_line import run_stage
from ssm4rec.settings.executor_input import write_executor_output
from ssm4rec.stages.rank_candidates.settings import Settings
from ssm4rec.tracking import RECIPE, tracked_task
from ssm4rec.training.device import choose_device

logger = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Rank and write the two files."""
    split = options.split
    dataset = read_sequences(options.dataset_dir)
    facts = RankerFacts.read(options.adapter_dir, dataset)
    candidates = read_candidates(options.candidates, dataset)
    users = facts.setting("ranked_users") if options.users == -1 else options.users
    task = ranking_task(dataset, candidates, split, users, options.seed)
    if len(task.users) < 2:
        raise InputError(
            f"1 user to rank, of {task.found} with the target among the candidates ({split}): one user does not say "
            "how sure a mean is; set --users 0 for all, or use more data"
        )
    titles = read_titles(options.dataset_dir)
    check_titles_trained_with(options.adapter_dir, facts.titles, titles)
    device = choose_device(options.device)
    manifest = read_manifest(options.dataset_dir)
    labels = {
        **data_labels(manifest),
        "profile": facts.profile,
        "language_model": facts.source,
        "retriever": candidates.model,
    }
    trained = trained_state(facts.stage, facts.winners_alone)
    stage = {FINETUNED: "rank", ALIGNED: "rank aligned", WINNERS: "rank winners alone"}[trained]
    name = run_name(facts.source, manifest, facts.seed, stage)
    tags = {"stage": "rank-candidates", "split": split, "seed": str(facts.seed), **labels}
    with tracked_task(name, tags) as tracker:
        ranked = {"ranker_seed": facts.seed, "ranked_users": len(task.users)}
        tracker.settings({**labels, **ranked, RECIPE: facts.recipe})
        tracker.dataset(manifest, split)
        ranker = load_ranker(facts, options.adapter_dir, cache_folder(options.cache_dir), device)
        check_source_unchanged(options.language_model_version, facts.source)
        part = "finetune" if trained == FINETUNED else "align"
        prompts = ranker.prompts(titles, PromptFormat(**facts.setting(part, "prompt")))
        asked = questions(prompts, task, ORDERS)
        rankers = (trained, BASE) if options.base and ranker.base() else (trained,)
        started, cpu = time.monotonic(), time.process_time()
        with memory_advice("finetune.prompt.history or finetune.prompt.title_tokens, or set quantization=nf4"):
            scores = {which: _scores(ranker, asked, which) for which in rankers}
        seconds, cpu_seconds = time.monotonic() - started, time.process_time() - cpu
        prompt_count = len(asked.users) * len(ORDERS)
        tokens = sum(len(prompt) for user in asked.users for prompt in user)
        found = [one for which in rankers for one in _rank(scores[which], task, which)]
        rankings = _baselines(dataset, task) + found
        if facts.retriever_weight is not None:
            both = blended(scores[trained], retriever_scores(task, ORDERS), task.sizes, facts.retriever_weight)
            rankings += _rank(both, task, BLENDED[trained])
        summary = RankingSummary(
            dataset=dataset.name,
            fingerprint=dataset.fingerprint,
            seed=facts.seed,
            profile=facts.profile,
            split=split,
            source=facts.source,
            stage=facts.stage,
            retriever=f"{candidates.model} seed {candidates.seed}",
            users=task.population,
            found=task.found,
            ranked=len(task.users),
            candidates=CANDIDATES_PER_USER,
            rows=tuple(ranking_rows(rankings, task.sizes, task.found, task.population)),
            first_places={
                f"{one.ranker}/{one.order}": numpy.bincount(one.first, minlength=CANDIDATES_PER_USER).tolist()
                for one in found
            },
            prompts_per_second=len(rankers) * prompt_count / seconds,
            tokens_per_second=len(rankers) * tokens / seconds,
            cpu_seconds_per_prompt=cpu_seconds / (len(rankers) * prompt_count),
            prompt_tokens=tokens / prompt_count,
            device=torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
            recipe=facts.recipe,
            training=facts.training,
            ranker=facts.ranker,
            retriever_weight=facts.retriever_weight,
            winners_alone=facts.winners_alone,
        )
        write_rankings(options.rankings, dataset.metadata, task.users, task.targets, task.sizes, rankings)
        summary.write(options.ranking)
        among = [row for row in summary.rows if row.population == AMONG_CANDIDATES and row.metric.endswith("@10")]
        numbers = {f"{row.ranker}/{row.order}/{row.metric}": row.value for row in among}
        tracker.metrics(numbers)
        tracker.text("ranking.json", options.ranking.read_text(encoding="utf-8"))
    write_executor_output(options.executor_input, {"shown": {**numbers}})
    for row in among:
        if row.metric == "ndcg@10":
            logger.info(
                "%s, candidates in %s order: ndcg@10 %.4f ± %.4f of %d users whose target is among them",
                row.ranker, row.order, row.value, row.standard_error, summary.ranked,
            )  # fmt: skip


def _baselines(dataset: SequenceDataset, task: RankingTask) -> list[Ranking]:
    nobody = numpy.full(len(task.users), -1, numpy.int32)
    counts = dataset.training_counts()
    popular = [
        1 + sum(counts[item] >= counts[target] for item in pool if item != target)
        for pool, target in zip(task.candidates[RETRIEVER_ORDER], task.targets.tolist(), strict=True)
    ]
    return [
        Ranking(RETRIEVER, RETRIEVER_ORDER, task.places(RETRIEVER_ORDER) + numpy.int32(1), nobody),
        Ranking(MOST_POPULAR, RETRIEVER_ORDER, numpy.array(popular, numpy.int32), nobody),
    ]


def _scores(ranker: Ranker, asked: Questions, name: str) -> Floats:
    """Return the candidates' scores (n, o, k), by the trained model, or before its training as ``BASE``."""
    with (
        (ranker.base() if name == BASE else None) or nullcontext(),
        tqdm(total=len(asked.users), desc=f"ranking, {name}", unit="user", leave=False, disable=None) as bar,
    ):
        return answer_logits(ranker.model, asked.users, asked.answers, bar.update)


def _rank(scores: Floats, task: RankingTask, name: str) -> Iterator[Ranking]:
    """Rank by scores (n, o, k), in every order."""
    targets = numpy.stack([task.places(order) for order in ORDERS], axis=1)
    ranks = ranks_of_target(scores, task.sizes, targets).astype(numpy.int32)
    places = numpy.arange(scores.shape[2])
    best = numpy.where(places < task.sizes[:, None, None], scores, -numpy.inf).argmax(axis=2).astype(numpy.int32)
    for column, order in enumerate(ORDERS):
        yield Ranking(name, order, ranks[:, column], best[:, column])


if __name__ == "__main__":
    run_stage(Settings.parser(), run)
