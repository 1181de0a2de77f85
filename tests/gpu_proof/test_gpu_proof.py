"""make gpu-proof, rehearsed on a CPU: what it measures, and how it ends, records and resumes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ssm4rec.ops.backend import choose_backend
from ssm4rec.runtime.errors import InputError
from ssm4rec.runtime.files import read_json
from ssm4rec.training.model_folder import read_model
from tests.gpu_proof import __main__ as gpu_proof
from tests.gpu_proof import llamarec, parts
from tests.gpu_proof.cost import PUBLISHED

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    yield
    choose_backend("auto", torch.device("cpu"))


def started(out: Path, names: str, minutes: float = 9) -> subprocess.Popen[str]:
    flags = ("--device=cpu", f"--out={out}", f"--parts={names}", f"--minutes={minutes}")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "components")])
    return subprocess.Popen(
        [sys.executable, "-m", "tests.gpu_proof", *flags], env={**os.environ, "PYTHONPATH": paths}, cwd=ROOT,
        text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip


def test_parts_are_recorded_however_they_end_and_a_killed_run_resumes(tmp_path: Path) -> None:
    with started(tmp_path, "machine,latency") as process:
        assert process.stdout
        assert any("latency      started" in line for line in process.stdout)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 128 + signal.SIGTERM
    first = (tmp_path / "machine.json").stat()
    with started(tmp_path, "machine,latency") as process:
        assert "machine      finished before" in process.communicate()[0]
    assert (tmp_path / "machine.json").stat() == first
    with started(tmp_path, "sasrec", minutes=0.001) as process:
        assert "not finished: sasrec" in process.communicate()[0]
    assert process.returncode == 1
    document = read_json(tmp_path / "gpu-proof.json")
    assert document["commit"] == gpu_proof.commit()
    assert {name: part["state"] for name, part in document["parts"].items()} == {
        "machine": "finished", "latency": "failed with status 2", "sasrec": "out of time",
    }  # fmt: skip
    assert "no trained recommender" in document["parts"]["latency"]["said"][-1]


def test_results_of_tests_are_counted(tmp_path: Path) -> None:
    report = tmp_path / "tests.xml"
    report.write_text(
        '<testsuites><testsuite errors="0" failures="1" skipped="1" tests="3"><testcase name="a"/><testcase name="b">'
        '<failure message="assert 1 == 2">...</failure></testcase><testcase name="c"><skipped message="no kernel"/>'
        "</testcase></testsuite></testsuites>"
    )
    assert parts.read_results(report) == {
        "counts": {"tests": 3, "failures": 1, "errors": 0, "skipped": 1},
        "failure": {"b": "assert 1 == 2"}, "error": {}, "skipped": {"c": "no kernel"},
    }  # fmt: skip


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so_and_writes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no GPU that torch finds"):
        gpu_proof.run(gpu_proof.build_parser().parse_args([f"--out={tmp_path / 'out'}"]))
    assert not (tmp_path / "out").exists()


def test_parts_are_those_of_the_command_line() -> None:
    assert tuple(parts.PARTS) == gpu_proof.PARTS


def test_a_recommender_is_measured_trained_and_timed(tmp_path: Path) -> None:
    part = parts.Part("2mamba4rec", tmp_path, "cpu", 30, "")
    parts.recommender(part)
    found = read_json(tmp_path / "2mamba4rec.json")["found"]
    compared = {(row["kernels"], row["precision"]) for name, row in found.items() if name != "training"}
    assert compared == {(kernels, precision) for kernels in ("fused", "torch") for precision in ("bf16", "fp32")}
    row = found["training"]
    assert row["users"] == 40
    assert row["epochs"] == 3
    assert row["targets_per_second"] == pytest.approx(row["targets"] / row["seconds_per_epoch"])
    assert found["fused bf16"]["loss"] != found["fused fp32"]["loss"] == pytest.approx(found["torch fp32"]["loss"])
    config = read_model(tmp_path / "models" / "generated-40" / "2mamba4rec").config
    assert config["training"]["epochs"] == row["epochs"]
    assert config["training"]["validation_ndcg@10"] == row["validation_ndcg@10"]
    timed = parts.Part("latency", tmp_path, "cpu", 30, "")
    parts.latency(timed)
    assert {result["model"] for result in timed.found["summary"]["results"]} == {"2mamba4rec"}


def test_language_models_are_trained_and_rank_at_the_published_length(tmp_path: Path) -> None:
    part = parts.Part("llamarec", tmp_path, "cpu", 1, "")
    llamarec.measure_language_models(part)
    found = read_json(tmp_path / "llamarec.json")["found"]
    assert set(found) == {"as published", "tiny nf4", "tiny none"}
    for row in (found["tiny nf4"], found["tiny none"]):
        assert row["tokens_per_prompt"] == pytest.approx(PUBLISHED["ml-1m"].tokens, rel=0.02)
        assert row["tokens_per_second"] * row["seconds_per_step"] == pytest.approx(16 * row["tokens_per_prompt"])
        tokens = PUBLISHED["ml-100k"].count * PUBLISHED["ml-100k"].padded
        assert row["hours"]["ml-100k"] == pytest.approx(tokens / row["tokens_per_second"] / 3600)
        assert row["prompts_ranked_per_second"] > 0
