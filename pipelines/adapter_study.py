"""The adapter study: the paper's optimizer on a language model's adapter against AdamW, tuned with equal trials.

The paper leaves open whether its method fits models other than its own (open question 2); the optimizer study asks that
of SASRec, this one of LlamaRec's LoRA matrices.
"""

from kfp import dsl

from pipelines.hardware import AT_ONCE
from pipelines.language_models import finetune, retrieve
from pipelines.parameters import Parameters, PipelineParameter, study_pipeline
from pipelines.recommenders import prepare, report_on
from ssm4rec.studies.adapters.plan import Settings

LISTS = {
    "adapters": PipelineParameter(
        Settings().lists()["adapters"],
        'fine-tunings, one {"language_model": source or "", "seed", "overrides", "label"} each',
    ),
}


def arrange(parameters: Parameters) -> None:
    """Arrange the study."""
    data = prepare(parameters).outputs["dataset"]
    retrieved = retrieve(data, parameters.retriever, 0, parameters)
    with dsl.ParallelFor(items=parameters.adapters, parallelism=AT_ONCE) as adapter:
        tuned = finetune(
            data, retrieved, adapter, parameters, hours=24, overrides=adapter.overrides, label=adapter.label
        )
    report_on(
        "adapters",
        parameters,
        adapters=dsl.Collected(tuned.outputs["adapter"]),
        curves=dsl.Collected(tuned.outputs["curve"]),
    )


adapter_study = study_pipeline(arrange, Settings, LISTS)
