"""The compiled pipelines: up to date, valid, and with nothing left dangling."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compile import COMPILED, PIPELINES, compile_all
from pipelines.hardware import A100_80GB
from ssm4rec.stages.evaluate.__main__ import build_parser as evaluate_parser
from ssm4rec.stages.prepare_data.__main__ import build_parser as prepare_parser
from ssm4rec.stages.report.__main__ import build_parser as report_parser
from ssm4rec.stages.train_recommender.__main__ import build_parser as train_parser

PARSERS = {
    "prepare-data": prepare_parser,
    "train-recommender": train_parser,
    "evaluate": evaluate_parser,
    "report": report_parser,
}
BY_HAND = {"--help", "-h", "--evaluations", "--histories"}
"""Flags for people: in KFP the lists come from the executor input."""


@pytest.fixture(params=PIPELINES)
def documents(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """The pipeline spec and the platform spec of a committed file."""
    return list(yaml.safe_load_all((COMPILED / f"{request.param}.yaml").read_text(encoding="utf-8")))


def test_committed_files_are_what_the_source_compiles_to(tmp_path: Path) -> None:
    """If this fails, run ``make compile``, look at the difference, and say in the commit why it is wanted."""
    for fresh in compile_all(tmp_path):
        texts = [path.read_text(encoding="utf-8").splitlines() for path in (fresh, COMPILED / fresh.name)]
        ours, committed = ([line for line in text if not line.startswith("sdkVersion:")] for text in texts)
        assert ours == committed


def test_documents_are_valid(documents: list[dict[str, Any]]) -> None:
    spec, platforms = documents
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platforms, pipeline_spec_pb2.PlatformSpec())
    for config in platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
        json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())


def dags(spec: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield spec["root"]
    yield from (component for component in spec["components"].values() if "dag" in component)


def named(definitions: dict[str, Any], kind: str) -> set[str]:
    return set(definitions.get(kind, {}))


def test_every_reference_resolves(documents: list[dict[str, Any]]) -> None:
    """The protos accept a task that reads from nowhere; the backend would fail at run time."""
    spec, platforms = documents
    configs = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(configs) <= set(spec["deploymentSpec"]["executors"])
    for dag in dags(spec):
        tasks, given = dag["dag"]["tasks"], dag.get("inputDefinitions", {})
        for task in tasks.values():
            component = spec["components"][task["componentRef"]["name"]]
            expected, passed = component.get("inputDefinitions", {}), task.get("inputs", {})
            for kind, singular in (("parameters", "Parameter"), ("artifacts", "Artifact")):
                loop = {task["parameterIterator"]["itemInput"]} if "parameterIterator" in task else set()
                extra = loop if kind == "parameters" else set()
                assert named(passed, kind) | extra == named(expected, kind), "an input is omitted or unknown"
                for source in passed.get(kind, {}).values():
                    if f"componentInput{singular}" in source:
                        assert source[f"componentInput{singular}"] in named(given, kind)
                    elif f"taskOutput{singular}" in source:
                        output = source[f"taskOutput{singular}"]
                        producer = spec["components"][tasks[output["producerTask"]]["componentRef"]["name"]]
                        assert output[f"output{singular}Key"] in named(producer["outputDefinitions"], kind)
                    else:
                        assert "runtimeValue" in source
            # What the platform document takes from the inputs of the DAG that the task stands in.
            for reference in platform_inputs(configs.get(component.get("executorLabel", ""), {})):
                assert reference in named(given, "parameters")
        for output in dag["dag"].get("outputs", {}).get("artifacts", {}).values():
            for selector in output["artifactSelectors"]:
                producer = spec["components"][tasks[selector["producerSubtask"]]["componentRef"]["name"]]
                assert selector["outputArtifactKey"] in named(producer["outputDefinitions"], "artifacts")


def platform_inputs(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "componentInputParameter" in config:
            yield config["componentInputParameter"]
        for value in config.values():
            yield from platform_inputs(value)
    elif isinstance(config, list):
        for value in config:
            yield from platform_inputs(value)


@pytest.mark.parametrize("stage", PARSERS)
def test_flags_are_those_of_the_stage(stage: str) -> None:
    (spec, _) = yaml.safe_load_all((COMPILED / "comparative_study.yaml").read_text(encoding="utf-8"))
    container = spec["deploymentSpec"]["executors"][f"exec-{stage}"]["container"]
    assert container["command"] == ["python", "-m", f"ssm4rec.stages.{stage.replace('-', '_')}"]
    passed = [argument for argument in container["args"] if argument.startswith("--")]
    known = {option for action in PARSERS[stage]()._actions for option in action.option_strings}
    assert sorted(passed) == sorted(known - BY_HAND)


def test_only_training_asks_for_the_gpu_pool() -> None:
    spec, platforms = yaml.safe_load_all((COMPILED / "comparative_study.yaml").read_text(encoding="utf-8"))
    executors, configs = spec["deploymentSpec"]["executors"], platforms["platforms"]["kubernetes"]["deploymentSpec"]
    on_gpu = {name for name, executor in executors.items() if "accelerator" in executor["container"]["resources"]}
    assert on_gpu == {"exec-train-recommender"}
    assert {name for name, config in configs["executors"].items() if "nodeSelector" in config} == on_gpu
    assert {name for name, config in configs["executors"].items() if "tolerations" in config} == on_gpu
    (memory,) = configs["executors"]["exec-train-recommender"]["emptyDirMounts"]
    assert (memory["mountPath"], memory["medium"]) == ("/dev/shm", "Memory")
    pool = spec["root"]["inputDefinitions"]["parameters"]["gpu_pool"]
    assert pool["defaultValue"] == A100_80GB
    assert all("activeDeadlineSeconds" in config for config in configs["executors"].values())
