"""The size of what KFP hands to a task: the model of it, and how many trainings a run may have."""

import subprocess
from typing import Any

import pytest
import yaml
from google.protobuf import json_format, struct_pb2
from kfp.pipeline_spec import pipeline_spec_pb2

from pipelines.compile import COMPILED, PIPELINES
from pipelines.limits import ARGUMENT_BYTES, ARTIFACT_BYTES, check_sizes, executor_input_bytes
from ssm4rec.runtime.errors import InputError


def spec_of(package: str) -> dict[str, Any]:
    document: dict[str, Any] = next(yaml.safe_load_all((COMPILED / f"{package}.yaml").read_text(encoding="utf-8")))
    return document


def longest_artifact(package: str) -> pipeline_spec_pb2.RuntimeArtifact:
    """An artifact as KFP's backend puts it into an executor input, everything as long as it gets with us.

    kubeflow/pipelines 2.17.0: the name is the artifact's number and the metadata its properties
    (backend/src/v2/metadata/converter.go:181); of these the backend writes display_name and store_session_info
    (metadata/client.go:1236 and :1249, the provider and S3Params of objectstore/config.go:56-78); the address is
    the pipeline root, pipeline, run, task, a salt and the output (driver/driver.go:775 and :786).
    """
    session = (
        '{"Provider":"minio","Params":{"accessKeyKey":"accesskey","disableSSL":"true","endpoint":'
        '"seaweedfs.kubeflow.svc.cluster.local:9000","forcePathStyle":"true","fromEnv":"false","maxRetries":"5",'
        '"region":"us-gov-west-1","secretKeyKey":"secretkey","secretName":"mlpipeline-minio-artifact"}}'
    )
    metadata = struct_pb2.Struct()
    metadata.update({"display_name": "global_time_evaluations", "store_session_info": session})
    folder = f"minio://mlpipeline/v2/artifacts/{package.replace('_', '-')}/{'0' * 36}"
    return pipeline_spec_pb2.RuntimeArtifact(
        name="1" * 12,
        type=pipeline_spec_pb2.ArtifactTypeSchema(schema_title="system.Artifact", schema_version="0.0.1"),
        uri=f"{folder}/evaluate-generator/{'0' * 36}/finetuned_rankings",
        metadata=metadata,
    )


def test_an_artifact_is_no_larger_than_the_model_says() -> None:
    artifact = longest_artifact(max(PIPELINES, key=len))
    assert len(json_format.MessageToJson(artifact, indent=None)) < ARTIFACT_BYTES


@pytest.mark.parametrize(("models", "seeds"), [(4, 1), (4, 3), (5, 12)])
@pytest.mark.parametrize("package", ["comparative_study", "comparative_study_recommenders_one_split"])
def test_studies_that_fit(package: str, models: int, seeds: int) -> None:
    """README's largest example has 4 models with 3 seeds."""
    trainings = [{"model": "sasrec", "seed": seed} for seed in range(models * seeds)]
    check_sizes(spec_of(package), {"trainings": trainings})


@pytest.mark.parametrize("package", PIPELINES)
def test_the_model_counts_every_artifact_of_a_real_executor_input(package: str) -> None:
    """Built from the protocol buffers, for the task that collects most, with 20 entries in every list."""
    spec = spec_of(package)
    parameters = spec["root"]["inputDefinitions"]["parameters"]
    lists = {name: [{}] * 20 for name, one in parameters.items() if isinstance(one.get("defaultValue"), list)}
    sizes = executor_input_bytes(spec, lists)
    task = max(sizes, key=lambda name: sizes[name])
    component = spec["components"][spec["root"]["dag"]["tasks"][task]["componentRef"]["name"]]
    given = pipeline_spec_pb2.ExecutorInput()
    for name, definition in component["inputDefinitions"]["artifacts"].items():
        if name in spec["root"]["dag"]["tasks"][task]["inputs"]["artifacts"]:
            made_by_loop = definition.get("isArtifactList", False)
            copies = [longest_artifact(package)] * (20 if made_by_loop else 1)
            given.inputs.artifacts[name].artifacts.extend(copies)
    for name in component["outputDefinitions"]["artifacts"]:
        given.outputs.artifacts[name].artifacts.append(longest_artifact(package))
    given.outputs.output_file = "/tmp/kfp_outputs/output_metadata.json"
    written = len(json_format.MessageToJson(given, indent=None))
    if package == "optimizer_study":  # it collects the comparison, too, whose list a task makes
        assert sizes[task] > 20 * ARTIFACT_BYTES
    else:
        assert 0.6 * sizes[task] < written < sizes[task]


@pytest.mark.parametrize("package", ["comparative_study", "long_history_study"])
def test_a_run_that_could_not_end_is_refused(package: str) -> None:
    trainings = [{"model": "sasrec", "seed": seed} for seed in range(100)]
    with pytest.raises(InputError, match=r"would get [0-9,]+ bytes of input, and no program starts with 131,072"):
        check_sizes(spec_of(package), {"trainings": trainings})


def test_an_argument_of_that_size_starts_no_program() -> None:
    assert subprocess.run(["true", "x" * (ARGUMENT_BYTES - 1)], check=False).returncode == 0
    with pytest.raises(OSError, match="Argument list too long"):
        subprocess.run(["true", "x" * ARGUMENT_BYTES], check=False)
