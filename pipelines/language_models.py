"""The language-model part of a study, stage by stage; ``comparative_study`` and ``orpo_study`` arrange it."""

from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from pipelines.hardware import on_cpu, on_gpu, reads_language_models
from ssm4rec.components import (
    align_llm,
    evaluate,
    evaluate_generator,
    finetune_llm,
    mine_preferences,
    rank_candidates,
    train_generator,
    train_recommender,
)


@dataclass(frozen=True)
class Place:
    """Where and how the stages run: pipeline parameters, handed on as they are.

    Attributes:
        device, cache_dir, language_model_version, checkpoint_dir: flags of the stages.
        gpu_pool, gpu_toleration: see ``hardware.on_gpu``.
    """

    device: Any
    cache_dir: Any
    language_model_version: Any
    checkpoint_dir: Any
    gpu_pool: Any
    gpu_toleration: Any

    def on_one_gpu(self, task: PipelineTask, hours: int) -> None:
        """Place a task on one GPU; it may read gated models and object stores."""
        on_gpu(task, "1", self.gpu_pool, self.gpu_toleration, hours)
        reads_language_models(task)


@dataclass(frozen=True)
class Retrieved:
    """A retriever's candidates of the two splits."""

    validation: Any
    test: Any


def retrieve(data: Any, retriever: Any, seed: Any, profile: Any, place: Place) -> Retrieved:
    """Train a recommender and let it choose every user's candidates."""
    trained = train_recommender(
        dataset=data,
        model_name=retriever,
        profile=profile,
        seed=seed,
        overrides="",
        device=place.device,
        precision="auto",
        kernels="auto",
        compile=False,
        processes="1",
        checkpoint_dir=place.checkpoint_dir,
    ).set_display_name("train the retriever")
    on_gpu(trained, "1", place.gpu_pool, place.gpu_toleration, hours=12)
    found = {}
    for split in ("validation", "test"):
        evaluated = evaluate(dataset=data, model=trained.outputs["model"], split=split, device="cpu")
        on_cpu(evaluated.set_display_name(f"retrieve, {split}"), cpus=4, memory_gib=8, hours=3)
        found[split] = evaluated.outputs["candidates"]
    return Retrieved(**found)


def mine(data: Any, seed: Any) -> Any:
    """Mine preference pairs and return pairs.parquet."""
    mined = mine_preferences(dataset=data, seed=seed, epochs=20, components=32)
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


def rank_and_align(
    data: Any, retrieved: Retrieved, pairs: Any, ranker: Any, profile: Any, overrides: Any, place: Place
) -> Ranked:
    """Fine-tune a language model, rank with it and without, align it, rank again.

    Args:
        data: the dataset folder.
        retrieved: the candidates to rank.
        pairs: the preferences to align to.
        ranker: {"language_model", "seed"} of the loop.
        profile: size of the trainings.
        overrides: changes to the rankers' recipe.
        place: where.
    """
    tuned = finetune_llm(
        dataset=data,
        candidates=retrieved.validation,
        language_model=ranker.language_model,
        profile=profile,
        seed=ranker.seed,
        overrides=overrides,
        device=place.device,
        cache_dir=place.cache_dir,
        language_model_version=place.language_model_version,
        checkpoint_dir=place.checkpoint_dir,
    )
    place.on_one_gpu(tuned, hours=48)
    finetuned = _rank(data, retrieved, tuned.outputs["adapter"], True, place, "rank, fine-tuned")
    aligned = align_llm(
        dataset=data,
        pairs=pairs,
        adapter=tuned.outputs["adapter"],
        profile=profile,
        seed=ranker.seed,
        overrides=overrides,
        device=place.device,
        cache_dir=place.cache_dir,
        language_model_version=place.language_model_version,
        checkpoint_dir=place.checkpoint_dir,
    )
    place.on_one_gpu(aligned, hours=24)
    ranked = _rank(data, retrieved, aligned.outputs["aligned"], False, place, "rank, aligned")
    return Ranked(
        finetuned_rankings=finetuned.outputs["rankings"],
        finetuned_summary=finetuned.outputs["ranking"],
        tuning=tuned.outputs["history"],
        aligned_rankings=ranked.outputs["rankings"],
        aligned_summary=ranked.outputs["ranking"],
        alignment=aligned.outputs["history"],
    )


def _rank(data: Any, retrieved: Retrieved, adapter: Any, base: bool, place: Place, name: str) -> PipelineTask:
    ranked = rank_candidates(
        dataset=data,
        candidates=retrieved.test,
        adapter=adapter,
        split="test",
        users=-1,
        base=base,
        seed=0,
        device=place.device,
        cache_dir=place.cache_dir,
        language_model_version=place.language_model_version,
    ).set_display_name(name)
    place.on_one_gpu(ranked, hours=12)
    return ranked


def generate(data: Any, generator: Any, profile: Any, overrides: Any, place: Place) -> Any:
    """Train a generative recommender ({"model", "seed"} of the loop), evaluate it, and return generation.json."""
    trained = train_generator(
        dataset=data,
        model_name=generator.model,
        language_model="",
        profile=profile,
        seed=generator.seed,
        overrides=overrides,
        device=place.device,
        cache_dir=place.cache_dir,
        language_model_version=place.language_model_version,
        checkpoint_dir=place.checkpoint_dir,
    )
    place.on_one_gpu(trained, hours=24)
    evaluated = evaluate_generator(
        dataset=data, generator=trained.outputs["generator"], split="test", device=place.device
    )
    place.on_one_gpu(evaluated, hours=6)
    return evaluated.outputs["metrics"]
