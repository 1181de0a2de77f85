"""What a program imports before it does anything: on a slow machine, most of a short stage's time."""

import subprocess
import sys

import pytest

LIBRARIES = {"torch", "torch._dynamo", "scipy.stats", "mlflow", "transformers", "pandas"}


@pytest.mark.parametrize(
    ("stage", "needed"), [("compare_models", set()), ("evaluate", {"torch"}), ("train_recommender", {"torch"})]
)
def test_a_stage_imports_no_large_library_that_it_may_not_need(stage: str, needed: set[str]) -> None:
    command = [sys.executable, "-X", "importtime", "-m", f"ssm4rec.stages.{stage}", "--help"]
    imported = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    names = {line.rpartition("|")[2].strip() for line in imported.splitlines()}
    assert names & LIBRARIES == needed
