"""The tasks of recommenders, and the report; every study arranges some of them."""

from typing import Any

from kfp.dsl import PipelineTask

from pipelines.parameters import Parameters, task
from ssm4rec.stages.components import evaluate, report, train_recommender


def train(data: Any, parameters: Parameters, training: Any, gpus: Any = "1", **own: Any) -> PipelineTask:
    """Train a recommender, an entry of a list: its model and seed; ``own``: what else it is told, such as overrides."""
    told = {"model_name": training.model, "seed": training.seed, "processes": gpus, **own}
    return task(train_recommender, parameters, dataset=data, **told)


def train_labelled(data: Any, parameters: Parameters, training: Any, **own: Any) -> PipelineTask:
    """Train a recommender on the study's GPUs, an entry that also says how: by its overrides, under its label."""
    how = {"overrides": training.overrides, "label": training.label, **own}
    return train(data, parameters, training, parameters.gpus, **how)


def rank(data: Any, trained: PipelineTask, parameters: Parameters, split: str = "test") -> PipelineTask:
    """Evaluate a recommender by full ranking."""
    return task(evaluate, parameters, dataset=data, model=trained.outputs["model"], split=split, device="cpu")


def report_on(study: str, parameters: Parameters, **files: Any) -> None:
    """Write the report of a study from its files."""
    task(report, parameters, study=study, **files).set_display_name(f"report, {study}")
