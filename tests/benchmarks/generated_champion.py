"""A champion of a large generated catalog, to serve: ``python -m tests.benchmarks.generated_champion ITEMS FOLDER``.

From the repository's root, in the environment of ``make test``. The items' vectors are those of bench_search.py, the
rest of the model is random, so its hidden states lie anywhere: the index finds fewer of the best items than that of a
trained model. Every item is in one user's history. FOLDER gets the data set, the model and the champion, with an
index of the items if they are 50,000 or more, built and measured by register_champion: ``bench_serving.py
FOLDER/champion``.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import numpy
from safetensors.torch import load_file, save_file

from ssm4rec.artifacts.names import MODEL_WEIGHTS
from tests.datasets import write_dataset_folder
from tests.trained_models import write_random_model

sys.path.insert(0, str(Path(__file__).parent))
from bench_search import generated

HISTORY = 20


def main() -> None:
    """Write all three folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("items", type=int)
    parser.add_argument("folder", type=Path)
    options = parser.parse_args()
    order = numpy.random.default_rng(0).permutation(options.items) + 1
    histories = [order[start : start + HISTORY].tolist() for start in range(0, options.items, HISTORY)]
    dataset = write_dataset_folder(options.folder / "dataset", histories, f"generated-{options.items}")
    model = write_random_model(dataset, options.folder / "model", "2mamba4rec", 0.0, overrides="model.d_model=64")
    weights = load_file(model / MODEL_WEIGHTS)
    (table,) = [name for name in weights if name.startswith("item_embedding")]
    weights[table] = generated(options.items)[0].item_embedding.weight.data.to(weights[table].dtype)
    save_file(weights, model / MODEL_WEIGHTS)
    flags = ["--dataset-dir", dataset, "--models", model, "--item-index", "true"]
    flags += ["--champion-dir", options.folder / "champion", "--registration", options.folder / "registration.json"]
    subprocess.run([sys.executable, "-m", "ssm4rec.stages.register_champion", *map(str, flags)], check=True)


if __name__ == "__main__":
    main()
