"""A study's settings as the parameters of its pipeline, and what stages take of them."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest

from pipelines.packages import COMPILED
from pipelines.parameters import Package, Parameters, inputs, study_pipeline, task
from pipelines.spec import read_spec, side_by_side
from ssm4rec.settings.flags import Flag, described
from ssm4rec.settings.shared import Seed
from ssm4rec.stages.components import evaluate, mine_preferences, prepare_data, train_recommender
from ssm4rec.studies.settings import NamedStudy


@dataclass(frozen=True, kw_only=True)
class Settings(NamedStudy):
    """A study."""

    PACKAGE = "a_study"

    seed: Seed = 4
    epochs: Annotated[int, Flag("of something else than LightFM")] = 2
    models: Annotated[tuple[str, ...], Flag("shapes a list", planned=True)] = ("sasrec",)
    chosen: Annotated[tuple[int, ...], Flag("several")] = (1, 2)


def arrange(parameters: Parameters) -> None:
    task(prepare_data, parameters)


def test_settings_are_parameters_and_planned_ones_are_not() -> None:
    found = study_pipeline(arrange, Settings, {}, Package(defaults={"k_core": 7})).component_spec.inputs
    assert "models" not in found
    assert (found["chosen"].type, found["chosen"].default) == ("String", "1,2")
    assert (found["seed"].default, found["k_core"].default, found["dataset"].default) == (4, 7, "ml-100k")
    assert found["epochs"].description == "of something else than LightFM"
    without = study_pipeline(arrange, Settings, {}, Package(left_out=["seed"])).component_spec.inputs
    assert "seed" not in without


def test_a_study_may_call_what_it_shares_otherwise() -> None:
    """``nodes`` of a training are said when the pipeline is compiled, and are not the study's ``data_nodes``."""
    parameters = Parameters(Settings, {one.name: f"the pipeline's {one.name}" for one in described(Settings)})
    told = inputs(prepare_data, parameters)
    assert (told["engine"], told["nodes"], told["workers"]) == (
        "the pipeline's engine", "the pipeline's data_nodes", 0,
    )  # fmt: skip
    trained = inputs(train_recommender, parameters, dataset="data", model_name="sasrec", overrides="")
    assert trained["nodes"] == "1"


def taken(component: Any, **own: Any) -> dict[str, Any]:
    """What a task of a stage is given in a pipeline of these settings."""
    return inputs(component, Parameters(Settings, {"seed": "the pipeline's", "epochs": "another"}), **own)


def test_a_task_takes_what_is_given_then_what_it_shares_then_its_defaults() -> None:
    given = taken(mine_preferences, dataset="data", epochs=9)
    assert given == {
        "dataset": "data", "epochs": 9, "seed": "the pipeline's", "components": 32, "pairs_by": "paper",
    }  # fmt: skip


def test_a_parameter_of_the_same_name_that_means_something_else_is_not_taken_by_chance() -> None:
    with pytest.raises(TypeError, match="mine-preferences: epochs is not the pipeline's parameter of that name"):
        taken(mine_preferences, dataset="data")
    with pytest.raises(AttributeError, match="no parameter 'device'"):
        taken(evaluate, dataset="data", model="model")


def test_how_many_tasks_of_a_stage_may_run_at_a_time() -> None:
    trainings = [{"model": name, "seed": 0} for name in ("sasrec", "lrurec", "mamba4rec")]
    found = side_by_side(read_spec(COMPILED / "comparative_study.yaml"), {"trainings": trainings, "rankers": [{}]})
    stages = ("train_recommender", "evaluate", "finetune_llm")
    assert [found[f"ssm4rec.stages.{stage}"] for stage in stages] == [3, 3, 1]
    assert "ssm4rec.stages.compare_models" not in found
    # The comparison's list is made by a task.
    assert side_by_side(read_spec(COMPILED / "optimizer_study.yaml"), {"trainings": trainings[:1]}) == {
        "ssm4rec.stages.train_recommender": 2
    }
