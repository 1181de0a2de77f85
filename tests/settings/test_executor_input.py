"""KFP's JSON: lists of artifacts read from it, metadata of outputs written for it."""

import json
from pathlib import Path

import pytest

from ssm4rec.runtime.errors import InputError
from ssm4rec.settings.executor_input import input_paths, local_path, write_executor_output


@pytest.mark.parametrize(
    ("uri", "path"),
    [
        ("s3://bucket/run/metrics", "/s3/bucket/run/metrics"),
        ("minio://mlpipeline/v2/a", "/minio/mlpipeline/v2/a"),
        ("gs://bucket/a", "/gcs/bucket/a"),
        ("/runs/local/metrics", "/runs/local/metrics"),
    ],
)
def test_a_uri_lies_where_the_launcher_puts_it(uri, path):
    assert local_path(uri) == Path(path)


def test_all_artifacts_of_a_list_in_order():
    artifacts = [{"name": "metrics", "uri": f"s3://bucket/{number}"} for number in (2, 0, 1)]
    executor_input = json.dumps({"inputs": {"artifacts": {"evaluations": {"artifacts": artifacts}}}})
    assert input_paths(executor_input, "evaluations") == [Path(f"/s3/bucket/{number}") for number in (2, 0, 1)]


@pytest.mark.parametrize("executor_input", ["{{$}}", "[]", "{}", '{"inputs": {}}', '{"inputs": {"artifacts": {}}}'])
def test_what_is_no_executor_input_is_refused_in_one_line(executor_input):
    with pytest.raises(InputError) as caught:
        input_paths(executor_input, "evaluations")
    assert "--executor-input" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_metadata_goes_to_the_named_outputs_only(tmp_path):
    output_file = tmp_path / "not" / "there" / "executor_output.json"
    outputs = {
        name: {"artifacts": [{"name": f"{name}-1", "uri": f"s3://bucket/{name}", "metadata": {"old": 1}}]}
        for name in ("metrics", "ranks")
    }
    executor_input = json.dumps({"outputs": {"artifacts": outputs, "outputFile": str(output_file)}})
    write_executor_output(executor_input, {"metrics": {"hit@10": 0.25}})
    written = {"name": "metrics-1", "uri": "s3://bucket/metrics", "metadata": {"hit_at_10": 0.25}}
    assert json.loads(output_file.read_text()) == {"artifacts": {"metrics": {"artifacts": [written]}}}


def test_an_output_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(InputError, match="'metrics'"):
        write_executor_output(json.dumps({"outputs": {"artifacts": {}}}), {"metrics": {"hit@10": 0.25}})


@pytest.mark.parametrize("empty", [{}, {"ranks": None}, {"ranks": {}}, {"ranks": {"artifacts": []}}])
def test_an_input_that_may_be_left_out_is_empty(empty):
    assert input_paths(json.dumps({"inputs": {"artifacts": empty}}), "ranks", optional=True) == []
    given = {"ranks": {"artifacts": [{"uri": "/runs/ranks"}]}}
    assert input_paths(json.dumps({"inputs": {"artifacts": given}}), "ranks", optional=True) == [Path("/runs/ranks")]
    with pytest.raises(InputError, match="executor-input"):
        input_paths("{}", "ranks", optional=True)
