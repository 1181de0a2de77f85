"""The scaling study: train recommenders of many sizes on nested shares of the users, fit laws, report."""

from kfp import dsl

from pipelines.hardware import AT_ONCE, Place
from pipelines.parameters import Parameters, study_pipeline, task
from pipelines.tasks import rank, report_on, train_labelled
from ssm4rec.stages.components import prepare_data
from ssm4rec.studies.scaling.plan import Settings

LISTS = {"trainings": 'the grid of width, depth and data, one {"model", "seed", "overrides", "label"} each'}


def arrange(parameters: Parameters) -> None:
    """Arrange the study."""
    data = task(prepare_data, parameters).outputs["dataset"]
    with dsl.ParallelFor(items=parameters.trainings, parallelism=AT_ONCE) as training:
        trained = train_labelled(data, parameters, training, count_flops=True)
        evaluated = rank(data, trained, parameters)
    evaluations = dsl.Collected(evaluated.outputs["metrics"])
    report_on("scaling", parameters, dataset=data, evaluations=evaluations, place=Place(hours=1, cpus=2))


scaling_study = study_pipeline(arrange, Settings, LISTS)
