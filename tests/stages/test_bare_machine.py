"""Training needs torch, numpy, pyarrow, pydantic, safetensors and a progress bar, and nothing more.

Evaluation needs scipy, too, for the sparse transitions of the Markov chain, its baseline.
"""

import os
import subprocess
import sys
from pathlib import Path

RUN = """
import runpy, sys
from importlib.machinery import PathFinder
from importlib.metadata import packages_distributions

allowed = {"torch", "functorch", "torchgen", "numpy", "pyarrow", "pydantic", "safetensors", "tqdm", "ssm4rec"}
# What torch and pydantic themselves need.
allowed |= {"typing_extensions", "sympy", "mpmath", "networkx", "jinja2", "markupsafe", "fsspec", "filelock"}
allowed |= {"pydantic_core", "annotated_types", "typing_inspection"}
allowed |= {*sys.argv[1].split(",")}
hidden = packages_distributions().keys() - allowed

class AsIfNotInstalled(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name.split(".")[0] in hidden else super().find_spec(name, path, target)

sys.meta_path = [AsIfNotInstalled if finder is PathFinder else finder for finder in sys.meta_path]
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""


def run(*command: str, further: str = "") -> None:
    """Run a module where only what is allowed, and ``further``, seems installed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW")}
    done = subprocess.run(
        [sys.executable, "-c", RUN, further, *command], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_training_and_evaluation_run_on_a_bare_machine(cycle_dataset: Path, tmp_path: Path) -> None:
    model, metrics = tmp_path / "model", tmp_path / "metrics.json"
    run(
        "ssm4rec.stages.train_recommender", "--dataset-dir", str(cycle_dataset), "--model", "mamba4rec",
        "--profile", "smoke", "--device", "cpu", "--model-dir", str(model), "--curve", str(tmp_path / "h.parquet"),
    )  # fmt: skip
    run(
        "ssm4rec.stages.evaluate", "--dataset-dir", str(cycle_dataset), "--model-dir", str(model), "--device", "cpu",
        "--ranks", str(tmp_path / "r.parquet"), "--candidates", str(tmp_path / "c.parquet"), "--metrics", str(metrics),
        further="scipy",
    )  # fmt: skip
    assert metrics.exists()
