"""The tasks that studies arrange, and what they are given."""

from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from pipelines.hardware import NODES
from pipelines.parameters import Parameters, task
from ssm4rec.stages.components import (
    align_llm,
    evaluate,
    evaluate_generator,
    finetune_llm,
    prepare_data,
    rank_candidates,
    report,
    train_generator,
    train_recommender,
)

Retrieved = dict[str, Any]
"""A retriever's candidates, by split (validation and test), and its ``model``."""


def prepare(parameters: Parameters, **own: Any) -> PipelineTask:
    """Prepare data on which models are compared over users: with one test user there is nothing to draw from."""
    return task(prepare_data, parameters, least_test_users=2, **own)


def train(data: Any, parameters: Parameters, training: Any, gpus: Any = "1", **own: Any) -> PipelineTask:
    """Train a recommender, an entry of a list: its model and seed; ``own``: what else it is told, such as overrides."""
    told = {"model_name": training.model, "seed": training.seed, "processes": gpus, "nodes": NODES, **own}
    return task(train_recommender, parameters, dataset=data, **told)


def train_labelled(data: Any, parameters: Parameters, training: Any, **own: Any) -> PipelineTask:
    """Train a recommender on the study's GPUs, an entry that also says how: by its overrides, under its label."""
    how = {"overrides": training.overrides, "label": training.label, **own}
    return train(data, parameters, training, parameters.gpus, **how)


def rank(data: Any, trained: PipelineTask, parameters: Parameters, split: str = "test") -> PipelineTask:
    """Evaluate a recommender by full ranking."""
    return task(evaluate, parameters, dataset=data, model=trained.outputs["model"], split=split, device="cpu")


def retrieve(data: Any, retriever: Any, seed: Any, parameters: Parameters) -> Retrieved:
    """Train a recommender by its recipe and let it choose every user's candidates."""
    plain: dict[str, Any] = {"overrides": "", "precision": "auto", "kernels": "auto", "compile": False}
    trained = task(train_recommender, parameters, dataset=data, model_name=retriever, seed=seed, processes="1", **plain)
    trained.set_display_name("train the retriever")
    found = {
        split: rank(data, trained, parameters, split).set_display_name(f"retrieve, {split}").outputs["candidates"]
        for split in ("validation", "test")
    }
    return found | {"model": trained.outputs["model"]}


def finetune(data: Any, retrieved: Retrieved, tuning: Any, parameters: Parameters, **own: Any) -> PipelineTask:
    """Fine-tune a language model ({"language_model", "seed"} of the loop) to rank candidates; ``own``: overrides."""
    told = {"language_model": tuning.language_model, "seed": tuning.seed, **own}
    read = {"candidates": retrieved["validation"], "retriever": retrieved["model"]}
    return task(finetune_llm, parameters, dataset=data, **read, **told)


def rank_and_align(
    data: Any, retrieved: Retrieved, pairs: Any, ranker: Any, parameters: Parameters, *, control: bool = False
) -> dict[str, Any]:
    """Fine-tune a language model ({"language_model", "seed"} of the loop), rank with it and without, align, rank again.

    ``control``: also train the fine-tuned one on the pairs' winners alone, and rank: what of the alignment's effect
    is one of more training.

    Return the inputs of the report stage that collect what became of it over the rankers' loop.
    """
    overrides = parameters.llm_overrides
    tuned = finetune(data, retrieved, ranker, parameters, overrides=overrides)
    adapter = tuned.outputs["adapter"]
    finetuned = _rank(data, retrieved, parameters, adapter=adapter, base=True).set_display_name("rank, fine-tuned")
    told = {"pairs": pairs, "adapter": adapter, "seed": ranker.seed, "overrides": overrides}
    aligned = task(align_llm, parameters, dataset=data, **told)
    ranked = _rank(data, retrieved, parameters, adapter=aligned.outputs["aligned"], base=False)
    ranked.set_display_name("rank, aligned")
    found = {
        "finetuned_rankings": finetuned.outputs["rankings"],
        "finetuned_summaries": finetuned.outputs["ranking"],
        "tunings": tuned.outputs["curve"],
        "aligned_rankings": ranked.outputs["rankings"],
        "aligned_summaries": ranked.outputs["ranking"],
        "alignments": aligned.outputs["curve"],
    }
    if control:
        again = task(align_llm, parameters, dataset=data, winners_alone=True, **told)
        again.set_display_name("train on the winners again")
        ranked = _rank(data, retrieved, parameters, adapter=again.outputs["aligned"], base=False)
        ranked.set_display_name("rank, winners again")
        found |= {"control_rankings": ranked.outputs["rankings"], "control_summaries": ranked.outputs["ranking"]}
    return {name: dsl.Collected(output) for name, output in found.items()}


def _rank(data: Any, retrieved: Retrieved, parameters: Parameters, **own: Any) -> PipelineTask:
    told = {"candidates": retrieved["test"], "split": "test", "seed": 0, **own}
    return task(rank_candidates, parameters, dataset=data, **told)


def generate(data: Any, generator: Any, parameters: Parameters) -> Any:
    """Train a generative recommender ({"model", "seed"} of the loop), evaluate it, and return generation.json."""
    told = {"model_name": generator.model, "seed": generator.seed, "overrides": parameters.generator_overrides}
    trained = task(train_generator, parameters, dataset=data, **told)
    evaluated = task(evaluate_generator, parameters, dataset=data, generator=trained.outputs["generator"], split="test")
    return evaluated.outputs["metrics"]


def report_on(study: str, parameters: Parameters, **files: Any) -> None:
    """Write the report of a study from its files."""
    task(report, parameters, study=study, **files).set_display_name(f"report, {study}")
