"""The scaling study: train recommenders of many sizes on nested shares of the users, fit laws, report.

Apart from that: pre-train one on a data set with words, and fine-tune it on another, compared with from scratch.
"""

from typing import Any

from kfp import dsl

from pipelines.hardware import AT_ONCE, NODES, Place
from pipelines.parameters import Parameters, study_pipeline, task
from pipelines.tasks import rank, report_on, train_labelled
from ssm4rec.stages.components import prepare_data, train_recommender
from ssm4rec.studies.scaling.plan import Settings

LISTS = {
    "trainings": 'the grid of width, depth and data, one {"model", "seed", "overrides", "label"} each',
    "transfers": 'shares to fine-tune on, one {"seed", "overrides", "scratch": label, "finetuned": label} each',
}


def arrange(parameters: Parameters) -> None:
    """Arrange the study."""
    data = task(prepare_data, parameters).outputs["dataset"]
    with dsl.ParallelFor(items=parameters.trainings, parallelism=AT_ONCE) as training:
        trained = train_labelled(data, parameters, training, count_flops=True)
        evaluated = rank(data, trained, parameters)
    evaluations = dsl.Collected(evaluated.outputs["metrics"])
    found = {"dataset": data, "evaluations": evaluations, **_transfer(parameters)}
    report_on("scaling", parameters, **found, place=Place(hours=1, cpus=2))


def _transfer(parameters: Parameters) -> dict[str, Any]:
    """Pre-train, fine-tune and train from scratch; return the report's inputs."""
    prepared = {}
    for part, dataset, source, version in (
        ("pretrain", parameters.pretrain_on, parameters.pretrain_source, parameters.pretrain_version),
        ("finetune", parameters.fine_tune_on, parameters.fine_tune_source, parameters.fine_tune_version),
    ):
        # Where the study's own data are says nothing of these.
        own: dict[str, Any] = {"name": "", "source": source, "items_source": "", "data_version": version}
        made = task(prepare_data, parameters, dataset_name=dataset, label=part, **own)
        prepared[part] = made.set_display_name(f"prepare, to {part}").outputs["dataset"]
    told = {"model_name": parameters.transfer_model, "processes": parameters.gpus, "nodes": NODES}
    pretrained = task(
        train_recommender,
        parameters,
        dataset=prepared["pretrain"],
        seed=0,
        overrides=parameters.transfer_overrides,
        label="pretrained",
        **told,
    ).outputs["model"]
    target, evaluations = prepared["finetune"], {}
    with dsl.ParallelFor(items=parameters.transfers, parallelism=AT_ONCE) as transfer:
        for part, label, start in (
            ("scratch", transfer.scratch, {}),
            ("finetuned", transfer.finetuned, {"initial_model": pretrained, "same_items": False}),
        ):
            how = {"seed": transfer.seed, "overrides": transfer.overrides, "label": label, **start}
            trained = task(train_recommender, parameters, dataset=target, **how, **told)
            trained.set_display_name(f"train, {part}")
            ranked = rank(target, trained, parameters).set_display_name(f"evaluate, {part}")
            evaluations[part] = ranked.outputs["metrics"]
    return {
        "pretrained": pretrained,
        "target_dataset": target,
        "scratch_evaluations": dsl.Collected(evaluations["scratch"]),
        "finetuned_evaluations": dsl.Collected(evaluations["finetuned"]),
    }


scaling_study = study_pipeline(arrange, Settings, LISTS)
