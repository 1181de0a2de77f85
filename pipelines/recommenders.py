"""The stages of recommenders and the report, with their places; every study arranges some of them."""

from typing import Any

from kfp.dsl import PipelineTask

from pipelines.hardware import on_cpu, on_gpu, reads_object_store
from pipelines.parameters import Parameters, task
from ssm4rec.stages.components import evaluate, prepare_data, report, train_recommender


def prepare(parameters: Parameters, **own: Any) -> PipelineTask:
    """Prepare the data set."""
    prepared = task(prepare_data, parameters, **own)
    on_cpu(prepared, cpus=2, memory_gib=8, hours=3)
    reads_object_store(prepared)
    return prepared


def train(data: Any, parameters: Parameters, gpus: Any = "1", **own: Any) -> PipelineTask:
    """Train a recommender on GPUs of one node; ``own`` has its model, seed and overrides."""
    trained = task(
        train_recommender,
        parameters,
        dataset=data,
        processes=gpus,
        checkpoint_dir=parameters.checkpoint_dir,
        **own,
    )
    on_gpu(trained, gpus, parameters.gpu_pool, parameters.gpu_toleration, hours=12)
    return trained


def train_entry(data: Any, parameters: Parameters, training: Any, **own: Any) -> PipelineTask:
    """Train a recommender as an entry of a study's list says: its model, seed, overrides and label."""
    told = {"model_name": training.model, "seed": training.seed, "overrides": training.overrides}
    return train(data, parameters, parameters.gpus, **told, label=training.label, **own)


def rank(data: Any, trained: PipelineTask, parameters: Parameters, split: str = "test") -> PipelineTask:
    """Evaluate a recommender by full ranking."""
    evaluated = task(evaluate, parameters, dataset=data, model=trained.outputs["model"], split=split, device="cpu")
    on_cpu(evaluated, cpus=4, memory_gib=8, hours=3)
    return evaluated


def report_on(study: str, parameters: Parameters, *, cpus: int = 1, memory_gib: int = 2, **files: Any) -> None:
    """Write the report of a study from its files."""
    reported = task(report, parameters, study=study, **files).set_display_name(f"report, {study}")
    on_cpu(reported, cpus=cpus, memory_gib=memory_gib, hours=1)
