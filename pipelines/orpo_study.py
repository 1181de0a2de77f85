"""The alignment study: what ORPO changes in rankers of several sizes (the paper's open question), on the same users.

Each ranker is aligned twice: by ORPO, and to the same pairs' winners alone, which tells what its preference term does.
"""

from kfp import dsl

from pipelines.hardware import AT_ONCE
from pipelines.parameters import Package, Parameters, study_pipeline, task
from pipelines.tasks import prepare, rank, rank_and_align, report_on, retrieve, train
from ssm4rec.stages.components import mine_preferences
from ssm4rec.studies.orpo.plan import Settings

SIZES = (
    "HuggingFaceTB/SmolLM2-135M-Instruct",
    "HuggingFaceTB/SmolLM2-360M-Instruct",
    "HuggingFaceTB/SmolLM2-1.7B-Instruct",
    "meta-llama/Llama-2-7b-hf",
)
LISTS = {
    "trainings": 'recommenders to report next to the rankers, one {"model": name, "seed": number} each',
    "rankers": 'language models, one {"language_model": source, "seed": number} each',
}
DEFAULTS = {"profile": "paper", "rankers": [{"language_model": source, "seed": 0} for source in SIZES]}


def arrange(parameters: Parameters) -> None:
    """Arrange the study."""
    data = prepare(parameters).outputs["dataset"]
    with dsl.ParallelFor(items=parameters.trainings, parallelism=AT_ONCE) as training:
        trained = train(data, parameters, training)
        evaluated = rank(data, trained, parameters)

    retrieved = retrieve(data, parameters.retriever, 0, parameters)
    mined = task(mine_preferences, parameters, dataset=data, retriever=retrieved["model"], seed=0)
    with dsl.ParallelFor(items=parameters.rankers, parallelism=AT_ONCE) as ranker:
        ranked = rank_and_align(data, retrieved, mined.outputs["pairs"], ranker, parameters, control=True)

    report_on(
        "orpo",
        parameters,
        dataset=data,
        evaluations=dsl.Collected(evaluated.outputs["metrics"]),
        curves=dsl.Collected(trained.outputs["curve"]),
        **ranked,
    )


orpo_study = study_pipeline(arrange, Settings, LISTS, Package(defaults=DEFAULTS))
