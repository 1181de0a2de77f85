"""The reproduction study: train the paper's recommenders on MovieLens-1M in RecBole's order of events, and report.

Published figures compare with nothing else, so the data set and its preparation are not parameters.
"""

from kfp import dsl

from pipelines.hardware import AT_ONCE, Place
from pipelines.parameters import Parameters, study_pipeline
from pipelines.tasks import prepare, rank, report_on, train_labelled
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.studies.reproduction.plan import DATASET, Settings

LISTS = {"trainings": 'every model by every recipe, one {"model", "seed", "profile", "overrides", "label"} each'}


def arrange(parameters: Parameters) -> None:
    """Arrange the study."""
    data = prepare(parameters, dataset_name=DATASET, event_order=RECBOLE).outputs["dataset"]
    with dsl.ParallelFor(items=parameters.trainings, parallelism=AT_ONCE) as training:
        trained = train_labelled(data, parameters, training, profile=training.profile)
        evaluated = rank(data, trained, parameters)

    evaluations, ranks = (dsl.Collected(evaluated.outputs[name]) for name in ("metrics", "ranks"))
    place = Place(hours=1, cpus=2)
    report_on("reproduction", parameters, dataset=data, evaluations=evaluations, ranks=ranks, place=place)


reproduction_study = study_pipeline(arrange, Settings, LISTS)
