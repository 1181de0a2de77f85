"""The compiled pipelines: up to date, valid, and with nothing left dangling."""

import inspect
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import json_format
from kfp import dsl
from kfp.kubernetes import kubernetes_executor_config_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compile import PIPELINES, compile_all
from pipelines.hardware import (
    A100_80GB,
    GPU_NODE_LABELS,
    GPU_TAINTS,
    HUB_SECRET,
    HUB_VARIABLES,
    OBJECT_STORE_SECRET,
    OBJECT_STORE_VARIABLES,
    Place,
    put,
)
from pipelines.limits import check_loops
from pipelines.packages import COMPILED, STAGES
from pipelines.spec import loops, read_documents, read_spec
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.images import DEVICE_VARIABLE
from ssm4rec.settings.command_line import StageParser
from ssm4rec.settings.flags import StageSettings

Documents = tuple[dict[str, Any], dict[str, Any]]

BY_HAND = {
    "report": {
        "--dataset-dir", "--evaluations", "--ranks", "--curves", "--sweep", "--adapters",
        "--finetuned-rankings", "--finetuned-summaries", "--aligned-rankings", "--aligned-summaries",
        "--control-rankings", "--control-summaries", "--tunings", "--alignments", "--generations", "--comparison",
        "--latency", "--latency-samples", "--global-time-dataset", "--global-time-evaluations",
        "--global-time-comparison", "--registration", "--pretrained", "--target-dataset", "--scratch-evaluations",
        "--finetuned-evaluations",
    },
    "choose-settings": {"--curves"},
    "compare-models": {"--ranks", "--candidates"},
    "finetune-llm": {"--retriever-dir"},
    "mine-preferences": {"--retriever-dir"},
    "measure-latency": {"--models"},
    "register-champion": {"--models"},
    "train-recommender": {"--initial-model"},
}  # fmt: skip
"""Flags for people: in KFP lists, and what may be left out, come from the executor input."""


@pytest.fixture(params=PIPELINES)
def documents(request: pytest.FixtureRequest) -> Documents:
    """The pipeline spec and the platform spec of a committed file."""
    return read_documents(COMPILED / f"{request.param}.yaml")


def test_committed_files_are_what_the_source_compiles_to(tmp_path: Path) -> None:
    """If this fails, run ``make compile``, look at the difference, and say in the commit why it is wanted."""
    written = [*compile_all(tmp_path), tmp_path / "README.md", tmp_path / "flags.mk", *(tmp_path / "help").iterdir()]
    for fresh in written:
        kept = COMPILED / fresh.relative_to(tmp_path)
        texts = [path.read_text(encoding="utf-8").splitlines() for path in (fresh, kept)]
        ours, committed = ([line for line in text if not line.startswith("sdkVersion:")] for text in texts)
        assert ours == committed


def test_documents_are_valid(documents: Documents) -> None:
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


def tasks_of(spec: dict[str, Any], dag: dict[str, Any]) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Every task of a DAG with its component."""
    for task in dag["dag"]["tasks"].values():
        yield task, spec["components"][task["componentRef"]["name"]]


def test_every_input_is_passed(documents: Documents) -> None:
    """The backend fails at run time on one that is left out, default or not."""
    spec, _ = documents
    for dag in dags(spec):
        for task, component in tasks_of(spec, dag):
            expected, passed = component.get("inputDefinitions", {}), task.get("inputs", {})
            optional = {name for name, one in expected.get("artifacts", {}).items() if one.get("isOptional")}
            assert named(expected, "artifacts") - optional <= named(passed, "artifacts") <= named(expected, "artifacts")
            loop = {task["parameterIterator"]["itemInput"]} if "parameterIterator" in task else set()
            # What resources are read from reaches the task, and no stage; "accelerator_count" is kfp's own.
            executor = spec["deploymentSpec"]["executors"].get(component.get("executorLabel", ""), {})
            resources = resource_inputs(executor) | {"accelerator_count"}
            assert (named(passed, "parameters") - resources) | loop == named(expected, "parameters")
            for reference in resource_inputs(executor):
                source = passed["parameters"][reference]["componentInputParameter"]
                kind = dag["inputDefinitions"]["parameters"][source]["parameterType"]
                assert kind == "STRING", "the backend reads resources from texts only"


def test_every_reference_resolves(documents: Documents) -> None:
    """The protos accept a task that reads from nowhere; the backend would fail at run time."""
    spec, platforms = documents
    configs = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(configs) <= set(spec["deploymentSpec"]["executors"])
    for dag in dags(spec):
        tasks, given = dag["dag"]["tasks"], dag.get("inputDefinitions", {})
        for task, component in tasks_of(spec, dag):
            passed = task.get("inputs", {})
            for kind, singular in (("parameters", "Parameter"), ("artifacts", "Artifact")):
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


def test_no_loop_is_over_a_list_that_may_be_empty(documents: Documents) -> None:
    """The backend gives a task that collects a loop's outputs an error if the loop had no iteration.

    kubeflow/pipelines 2.17.0, backend/src/v2/driver/resolve.go:752 collects "if iterations > 0", :774 then says that
    the loop's task is "not in tasks". kfp.local accepts it. A list may be empty if it is a pipeline parameter whose
    default is; a loop inside a loop, or over a task's output, is over what that task makes.
    """
    spec, _ = documents
    check_loops(spec, {})
    tasks = [task for dag in dags(spec) for task, _ in tasks_of(spec, dag) if "parameterIterator" in task]
    sources = [task["inputs"]["parameters"][task["parameterIterator"]["items"]["inputParameter"]] for task in tasks]
    makers = [source["taskOutputParameter"]["producerTask"] for source in sources if "taskOutputParameter" in source]
    assert {task["iteratorPolicy"]["parallelismLimit"] for task in tasks} == {8}, "not all GPUs of a cluster at once"
    assert set(makers) <= {"choose-settings"}, "it refuses to choose from nothing"
    over_parameters = [loop for loop in loops(spec).values() if loop.parameter]
    assert len(over_parameters) + len(makers) == len(tasks), "every other loop is over a pipeline's parameter"


def test_every_package_of_a_study_has_the_parameters_of_its_parts_only(documents: Documents) -> None:
    spec, _ = documents
    for name in spec["root"]["inputDefinitions"]["parameters"]:
        used = json.dumps([spec["root"]["dag"], spec["components"]])
        assert f'"componentInputParameter": "{name}"' in used, f"{name} changes nothing"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trainings": []}, r"trainings: \[\]: name at least one"),
        ({"trainings": None}, "trainings: None: name at least one"),
        ({"trainings": [{"model": "sasrec"}]}, "trainings, entry 1: .*: it has the keys model, seed"),
        ({"generators": [{"model": "mamrec", "seed": 0, "sed": 1}]}, "generators, entry 1: .*sed.*: it has the keys"),
        ({"rankers": [{"language_model": "", "retriever": "lrurec", "seed": 0}, "llama"]}, "rankers, entry 2: 'llama'"),
    ],
)
def test_lists_that_the_backend_would_choke_on_are_refused(change: dict[str, Any], message: str) -> None:
    spec = read_spec(COMPILED / "comparative_study.yaml")
    with pytest.raises(InputError, match=message):
        check_loops(spec, change)


def resource_inputs(executor: dict[str, Any]) -> set[str]:
    """The parameters that an executor's resources are read from."""
    text = json.dumps(executor.get("container", {}).get("resources", {}))
    return set(re.findall(r"inputs\.parameters\['(.+?)'\]", text))


def platform_inputs(config: Any) -> Iterator[str]:
    if isinstance(config, dict):
        if "componentInputParameter" in config:
            yield config["componentInputParameter"]
        for value in config.values():
            yield from platform_inputs(value)
    elif isinstance(config, list):
        for value in config:
            yield from platform_inputs(value)


def executors(documents: Documents) -> Iterator[tuple[str, dict[str, Any], dict[str, Any]]]:
    """Name, container and Kubernetes configuration of every executor."""
    spec, platforms = documents
    configs = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for name, executor in spec["deploymentSpec"]["executors"].items():
        yield name, executor["container"], configs[name]


def stage_of(executor: str) -> str:
    """The stage of an executor; a second task of the same component has a number."""
    return re.sub(r"^exec-|-\d+$", "", executor)


def test_every_stage_is_compared() -> None:
    found = set()
    for name in PIPELINES:
        found |= {stage_of(name) for name, _, _ in executors(read_documents(COMPILED / f"{name}.yaml"))}
    by_itself = {
        "recommend_all"
    }  # in nobody's study; tests/stages/test_recommend_all.py compiles its README's pipeline
    assert found == {stage.replace("_", "-") for stage in {*STAGES} - by_itself}


def parser_of(stage: str) -> StageParser:
    settings: type[StageSettings] = import_module(f"ssm4rec.stages.{stage.replace('-', '_')}.settings").Settings
    return settings.parser()


def test_flags_are_those_of_the_stage(documents: Documents) -> None:
    for name, container, _ in executors(documents):
        stage = stage_of(name)
        assert container["command"] == ["python", "-m", f"ssm4rec.stages.{stage.replace('-', '_')}"]
        passed = [argument for argument in container["args"] if argument.startswith("--")]
        known = {option for action in parser_of(stage)._actions for option in action.option_strings}
        assert sorted(passed) == sorted(known - {"--help", "-h"} - BY_HAND.get(stage, set()))


LLM_STAGES = {"finetune-llm", "rank-candidates", "align-llm", "train-generator", "evaluate-generator"}
GPU_STAGES = {"train-recommender", "measure-latency", *LLM_STAGES}


def test_gpu_tasks_have_all_they_need_and_no_other_task_has(documents: Documents) -> None:
    for name, container, config in executors(documents):
        accelerator = container["resources"].get("accelerator", {})
        assert (
            bool(accelerator)
            == ("nodeSelector" in config)
            == ("tolerations" in config)
            == (stage_of(name) in GPU_STAGES)
        )
        assert ("emptyDirMounts" in config) == (stage_of(name) in GPU_STAGES)
        device = [one["value"] for one in container.get("env", []) if one["name"] == DEVICE_VARIABLE]
        assert device == (["cuda"] if accelerator else []), "a pod without the GPU it was to have ends at once"
        if accelerator:
            assert accelerator["resourceType"] == "nvidia.com/gpu"
            assert accelerator["resourceCount"] in ("1", "{{$.inputs.parameters['pipelinechannel--gpus']}}")
            (memory,) = config["emptyDirMounts"]
            assert (memory["mountPath"], memory["medium"]) == ("/dev/shm", "Memory")
            assert config["nodeSelector"]["nodeSelectorJson"]["componentInputParameter"].endswith("gpu_pool")
            (toleration,) = config["tolerations"]
            assert toleration["tolerationJson"]["componentInputParameter"].endswith("gpu_toleration")
        else:
            (term,) = config["nodeAffinity"]
            assert term["weight"] == 100, "preferred: there may be no node without a GPU"
            assert {rule["operator"] for rule in term["matchExpressions"]} == {"DoesNotExist"}
            assert {rule["key"] for rule in term["matchExpressions"]} == set(GPU_NODE_LABELS)


def test_every_task_has_a_time_limit_resources_retries_and_no_root(documents: Documents) -> None:
    spec = documents[0]
    for _, container, config in executors(documents):
        assert int(config["activeDeadlineSeconds"]) >= 3600
        assert {"resourceCpuRequest", "resourceMemoryRequest", "resourceMemoryLimit"} <= set(container["resources"])
        assert config["securityContext"]["runAsNonRoot"] is True
    for dag in dags(spec):
        for task in dag["dag"]["tasks"].values():
            if "executorLabel" in spec["components"][task["componentRef"]["name"]]:
                assert task["retryPolicy"]["maxRetryCount"] >= 1
                assert task["retryPolicy"]["backoffFactor"] == 2.0
                # KFP starts no pod for a task whose result it has: a cached training asks for no GPU.
                cached = stage_of(spec["components"][task["componentRef"]["name"]]["executorLabel"]) not in NEVER_CACHED
                assert task["cachingOptions"] == ({"enableCache": True} if cached else {})


NEVER_CACHED = {"measure-latency", "register-champion"}
"""The cache's key knows neither the GPUs nor the registry (kubeflow/pipelines 2.17.0, v2/cacheutils/cache.go:173)."""


def test_all_attempts_fit_into_the_window_of_retries(documents: Documents) -> None:
    """Argo gives up an attempt at the end of the window, which begins with the first attempt's start.

    argoproj/argo-workflows v4.0.5, workflow/controller/operator.go:1028-1040 counts maxDuration from there, waiting
    for a node included, and :1094 hands what is left of it to a later attempt as its deadline.
    """
    spec, platforms = documents
    configs = platforms["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for dag in dags(spec):
        for task, component in tasks_of(spec, dag):
            if "executorLabel" in component:
                attempts = task["retryPolicy"]["maxRetryCount"] + 1
                longest = int(configs[component["executorLabel"]]["activeDeadlineSeconds"])
                window = int(task["retryPolicy"]["backoffMaxDuration"].removesuffix("s"))
                assert window > 2 * attempts * longest, "and as long again to wait for nodes"


def test_the_pool_is_chosen_at_submission(documents: Documents) -> None:
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert parameters["gpu_pool"]["defaultValue"] == A100_80GB
    assert parameters["gpu_toleration"]["defaultValue"] == GPU_TAINTS
    if "gpus" in parameters:
        assert (parameters["gpus"]["defaultValue"], parameters["gpus"]["parameterType"]) == ("1", "STRING")


def test_secrets_go_by_reference_and_to_those_who_need_them(documents: Documents) -> None:
    """The object store's to what reads data or language models, the hub's to language models, none to the rest."""
    for name, _, config in executors(documents):
        secrets = {secret["secretName"]: secret for secret in config.get("secretAsEnv", [])}
        stage = stage_of(name)
        store = {OBJECT_STORE_SECRET} if stage in {"prepare-data", *LLM_STAGES} else set()
        hub = {HUB_SECRET} if stage in LLM_STAGES else set()
        assert set(secrets) == store | hub
        assert all(secret["optional"] for secret in secrets.values())
        given = {entry["envVar"] for secret in secrets.values() for entry in secret["keyToEnv"]}
        assert given == {*(OBJECT_STORE_VARIABLES if store else ()), *(HUB_VARIABLES if hub else ())}


PLANTED = {
    "AWS_ACCESS_KEY_ID": "planted-id",
    "AWS_SECRET_ACCESS_KEY": "planted-key",
    "AWS_ENDPOINT_URL_S3": "http://user:planted-password@store",
    "MLFLOW_TRACKING_PASSWORD": "planted-password",
    "MLFLOW_TRACKING_URI": "http://user:planted-password@mlflow",
    "HF_TOKEN": "planted-token",
}


def compile_with(folder: Path, **settings: str) -> Path:
    """Compile in a process of its own: settings are read when the components are imported."""
    command = [sys.executable, "-m", "pipelines.compile", "--folder", str(folder)]
    subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True)
    return folder


@pytest.fixture(scope="module")
def with_volume(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Compiled for a cluster with a volume, by somebody with secrets."""
    return compile_with(tmp_path_factory.mktemp("compiled"), SSM4REC_VOLUME="team-cache", **PLANTED)


def test_a_cluster_without_gpus(tmp_path: Path) -> None:
    compile_with(tmp_path, SSM4REC_ACCELERATOR="cpu", SSM4REC_REGISTRY="registry.example.org/team/")
    for _, container, config in executors(read_documents(tmp_path / "comparative_study.yaml")):
        assert re.match(r"registry\.example\.org/team/ssm4rec-(cpu|llm):", container["image"])
        assert "accelerator" not in container["resources"]
        assert "nodeSelector" not in config
        assert DEVICE_VARIABLE not in [one["name"] for one in container.get("env", [])]


def test_a_volume_is_mounted_everywhere_and_holds_downloads_and_checkpoints(with_volume: Path) -> None:
    documents = read_documents(with_volume / "comparative_study.yaml")
    for _, _, config in executors(documents):
        (mount,) = config["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == ("team-cache", "/cache")
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert parameters["cache_dir"]["defaultValue"] == "/cache/downloads"
    assert parameters["checkpoint_dir"]["defaultValue"] == "/cache/checkpoints"


def test_trainings_on_several_nodes_hold_no_gpu_themselves(tmp_path: Path) -> None:
    """They are in the pool, as their nodes are like them; the retriever of a language model's study stays on one."""
    compile_with(tmp_path, SSM4REC_VOLUME="team-cache", SSM4REC_NODES="4")
    documents = read_documents(tmp_path / "comparative_study.yaml")
    several, one = 0, 0
    for _, container, config in executors(documents):
        if "train_recommender" in container["command"][2]:
            assert config["nodeSelector"]
            assert DEVICE_VARIABLE in [one["name"] for one in container["env"]]
            if "accelerator" in container["resources"]:
                one += 1
            else:
                several += 1
    assert (several, one) == (2, 1)
    for _, container, _ in executors(read_documents(tmp_path / "scaling_study.yaml")):
        assert "train_recommender" not in container["command"][2] or "accelerator" not in container["resources"]


def test_the_engine_and_its_nodes_reach_every_preparation(documents: Documents) -> None:
    """By default they are what the stage's own are, one process of polars; ML-1M of the reproduction study is small."""
    spec, _ = documents
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    prepared = [task["inputs"]["parameters"] for dag in dags(spec) for task, component in tasks_of(spec, dag)
                if component.get("executorLabel", "").startswith("exec-prepare-data")]  # fmt: skip
    assert prepared
    for inputs in prepared:
        assert inputs["workers"] == {"runtimeValue": {"constant": 0}}
        if spec["pipelineInfo"]["name"] == "reproduction-study":
            assert inputs["engine"] == {"runtimeValue": {"constant": "polars"}}
            assert inputs["nodes"] == {"runtimeValue": {"constant": 1}}
            continue
        assert inputs["engine"] == {"componentInputParameter": "engine"}
        assert inputs["nodes"] == {"componentInputParameter": "data_nodes"}
        assert (parameters["engine"]["defaultValue"], parameters["data_nodes"]["defaultValue"]) == ("polars", 1)
        assert parameters["data_nodes"]["parameterType"] == "NUMBER_INTEGER"


def test_no_secret_of_the_environment_is_compiled_in(with_volume: Path) -> None:
    compiled = [path for path in with_volume.rglob("*") if path.is_file()]
    assert len(compiled) > len(PIPELINES)
    for path in compiled:
        assert "planted" not in path.read_text(encoding="utf-8")


def test_kfp_names_what_it_refuses_and_the_stack_is_whole_again() -> None:
    """While a task is given its place, kfp gets its caller's name from ``inspect.stack()``, and no more."""
    whole = inspect.stack

    def arranged() -> None:
        put(dsl.importer("s3://bucket/data", dsl.Dataset), Place(hours=1), {}, [], "1")

    with pytest.raises(ValueError, match=r"^set_cpu_request can only be used on single-step"):
        dsl.pipeline(arranged)
    assert inspect.stack is whole
