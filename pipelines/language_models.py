"""The language-model part of a study, stage by stage; ``comparative_study`` and ``orpo_study`` arrange it."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from pipelines.hardware import on_cpu, on_gpu, reads_language_models
from pipelines.parameters import Parameters, task
from pipelines.recommenders import rank, train
from ssm4rec.stages.components import (
    align_llm,
    evaluate_generator,
    finetune_llm,
    mine_preferences,
    rank_candidates,
    train_generator,
)


def _on_one_gpu(placed: PipelineTask, parameters: Parameters, hours: int) -> None:
    """Place a task on one GPU; it may read gated models and object stores."""
    on_gpu(placed, "1", parameters.gpu_pool, parameters.gpu_toleration, hours)
    reads_language_models(placed)


@dataclass(frozen=True)
class Retrieved:
    """A retriever's candidates of the two splits."""

    validation: Any
    test: Any


def retrieve(data: Any, retriever: Any, seed: Any, parameters: Parameters) -> Retrieved:
    """Train a recommender by its recipe and let it choose every user's candidates."""
    plain = {"overrides": "", "precision": "auto", "kernels": "auto", "compile": False}
    trained = train(data, parameters, model_name=retriever, seed=seed, **plain)
    trained.set_display_name("train the retriever")
    found = {}
    for split in ("validation", "test"):
        evaluated = rank(data, trained, parameters, split).set_display_name(f"retrieve, {split}")
        found[split] = evaluated.outputs["candidates"]
    return Retrieved(**found)


def mine(data: Any, seed: Any, parameters: Parameters) -> Any:
    """Mine preference pairs and return pairs.parquet."""
    mined = task(mine_preferences, parameters, dataset=data, seed=seed)
    on_cpu(mined, cpus=2, memory_gib=8, hours=6)
    return mined.outputs["pairs"]


@dataclass(frozen=True)
class Ranked:
    """A ranker's artifacts: the fine-tuned one's, and the aligned one's."""

    finetuned_rankings: Any
    finetuned_summary: Any
    tuning: Any
    aligned_rankings: Any
    aligned_summary: Any
    alignment: Any

    def collected(self) -> dict[str, Any]:
        """Return the inputs of the report stage that collect these artifacts over the rankers' loop."""
        return {
            "finetuned_rankings": dsl.Collected(self.finetuned_rankings),
            "finetuned_summaries": dsl.Collected(self.finetuned_summary),
            "tunings": dsl.Collected(self.tuning),
            "aligned_rankings": dsl.Collected(self.aligned_rankings),
            "aligned_summaries": dsl.Collected(self.aligned_summary),
            "alignments": dsl.Collected(self.alignment),
        }


def finetune(
    data: Any, retrieved: Retrieved, ranker: Any, parameters: Parameters, *, hours: int, **own: Any
) -> PipelineTask:
    """Fine-tune a language model ({"language_model", "seed"} of the loop) to rank candidates; ``own``: overrides."""
    tuned = task(
        finetune_llm,
        parameters,
        dataset=data,
        candidates=retrieved.validation,
        language_model=ranker.language_model,
        seed=ranker.seed,
        **own,
        **_folders(parameters),
    )
    _on_one_gpu(tuned, parameters, hours)
    return tuned


def rank_and_align(data: Any, retrieved: Retrieved, pairs: Any, ranker: Any, parameters: Parameters) -> Ranked:
    """Fine-tune a language model, rank with it and without, align it, rank again.

    Args:
        data: the dataset folder.
        retrieved: the candidates to rank.
        pairs: the preferences to align to.
        ranker: {"language_model", "seed"} of the loop.
        parameters: of the pipeline.
    """
    overrides = parameters.llm_overrides
    tuned = finetune(data, retrieved, ranker, parameters, hours=48, overrides=overrides)
    finetuned = _rank(data, retrieved, tuned.outputs["adapter"], True, parameters, "rank, fine-tuned")
    aligned = task(
        align_llm,
        parameters,
        dataset=data,
        pairs=pairs,
        adapter=tuned.outputs["adapter"],
        seed=ranker.seed,
        overrides=overrides,
        **_folders(parameters),
    )
    _on_one_gpu(aligned, parameters, hours=24)
    ranked = _rank(data, retrieved, aligned.outputs["aligned"], False, parameters, "rank, aligned")
    return Ranked(
        finetuned_rankings=finetuned.outputs["rankings"],
        finetuned_summary=finetuned.outputs["ranking"],
        tuning=tuned.outputs["curve"],
        aligned_rankings=ranked.outputs["rankings"],
        aligned_summary=ranked.outputs["ranking"],
        alignment=aligned.outputs["curve"],
    )


def _rank(data: Any, retrieved: Retrieved, adapter: Any, base: bool, parameters: Parameters, name: str) -> PipelineTask:
    ranked = task(
        rank_candidates,
        parameters,
        dataset=data,
        candidates=retrieved.test,
        adapter=adapter,
        split="test",
        base=base,
        seed=0,
        cache_dir=parameters.cache_dir,
    ).set_display_name(name)
    _on_one_gpu(ranked, parameters, hours=12)
    return ranked


def generate(data: Any, generator: Any, parameters: Parameters) -> Any:
    """Train a generative recommender ({"model", "seed"} of the loop), evaluate it, and return generation.json."""
    trained = task(
        train_generator,
        parameters,
        dataset=data,
        model_name=generator.model,
        seed=generator.seed,
        overrides=parameters.generator_overrides,
        **_folders(parameters),
    )
    _on_one_gpu(trained, parameters, hours=24)
    evaluated = task(evaluate_generator, parameters, dataset=data, generator=trained.outputs["generator"], split="test")
    _on_one_gpu(evaluated, parameters, hours=6)
    return evaluated.outputs["metrics"]


def _folders(parameters: Parameters) -> dict[str, Any]:
    """Return the folders that outlive a task: of language models, next to other downloads, and of checkpoints."""
    return {"cache_dir": parameters.cache_dir, "checkpoint_dir": parameters.checkpoint_dir}
