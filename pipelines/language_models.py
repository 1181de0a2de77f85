"""The tasks of language models; the comparative, the alignment and the adapter study arrange them."""

from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from pipelines.parameters import Parameters, task
from pipelines.recommenders import rank
from ssm4rec.stages.components import (
    align_llm,
    evaluate_generator,
    finetune_llm,
    mine_preferences,
    rank_candidates,
    train_generator,
    train_recommender,
)

Retrieved = dict[str, Any]
"""A retriever's candidates, by split: validation and test."""


def retrieve(data: Any, retriever: Any, seed: Any, parameters: Parameters) -> Retrieved:
    """Train a recommender by its recipe and let it choose every user's candidates."""
    plain = {"overrides": "", "precision": "auto", "kernels": "auto", "compile": False, "processes": "1"}
    trained = task(train_recommender, parameters, dataset=data, model_name=retriever, seed=seed, **plain)
    trained.set_display_name("train the retriever")
    return {
        split: rank(data, trained, parameters, split).set_display_name(f"retrieve, {split}").outputs["candidates"]
        for split in ("validation", "test")
    }


def mine(data: Any, seed: Any, parameters: Parameters) -> Any:
    """Mine preference pairs and return pairs.parquet."""
    return task(mine_preferences, parameters, dataset=data, seed=seed).outputs["pairs"]


def finetune(data: Any, retrieved: Retrieved, ranker: Any, parameters: Parameters, **own: Any) -> PipelineTask:
    """Fine-tune a language model ({"language_model", "seed"} of the loop) to rank candidates; ``own``: overrides."""
    told = {"language_model": ranker.language_model, "seed": ranker.seed, **own}
    return task(finetune_llm, parameters, dataset=data, candidates=retrieved["validation"], **told)


def rank_and_align(data: Any, retrieved: Retrieved, pairs: Any, ranker: Any, parameters: Parameters) -> dict[str, Any]:
    """Fine-tune a language model, rank with it and without, align it, rank again.

    Args:
        data: the dataset folder.
        retrieved: the candidates to rank.
        pairs: the preferences to align to.
        ranker: {"language_model", "seed"} of the loop.
        parameters: of the pipeline.

    Returns:
        The inputs of the report stage that collect what became of it over the rankers' loop.
    """
    overrides = parameters.llm_overrides
    tuned = finetune(data, retrieved, ranker, parameters, overrides=overrides)
    adapter = tuned.outputs["adapter"]
    finetuned = _rank(data, retrieved, parameters, adapter=adapter, base=True).set_display_name("rank, fine-tuned")
    told = {"pairs": pairs, "adapter": adapter, "seed": ranker.seed, "overrides": overrides}
    aligned = task(align_llm, parameters, dataset=data, **told)
    adapter = aligned.outputs["aligned"]
    ranked = _rank(data, retrieved, parameters, adapter=adapter, base=False).set_display_name("rank, aligned")
    return {
        "finetuned_rankings": dsl.Collected(finetuned.outputs["rankings"]),
        "finetuned_summaries": dsl.Collected(finetuned.outputs["ranking"]),
        "tunings": dsl.Collected(tuned.outputs["curve"]),
        "aligned_rankings": dsl.Collected(ranked.outputs["rankings"]),
        "aligned_summaries": dsl.Collected(ranked.outputs["ranking"]),
        "alignments": dsl.Collected(aligned.outputs["curve"]),
    }


def _rank(data: Any, retrieved: Retrieved, parameters: Parameters, **own: Any) -> PipelineTask:
    told = {"candidates": retrieved["test"], "split": "test", "seed": 0, **own}
    return task(rank_candidates, parameters, dataset=data, **told)


def generate(data: Any, generator: Any, parameters: Parameters) -> Any:
    """Train a generative recommender ({"model", "seed"} of the loop), evaluate it, and return generation.json."""
    told = {"model_name": generator.model, "seed": generator.seed, "overrides": parameters.generator_overrides}
    trained = task(train_generator, parameters, dataset=data, **told)
    evaluated = task(evaluate_generator, parameters, dataset=data, generator=trained.outputs["generator"], split="test")
    return evaluated.outputs["metrics"]
