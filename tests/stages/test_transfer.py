"""Pre-training on another catalog, where the answer is known: it helps by what the words of its titles say."""

from pathlib import Path

import pytest

from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.data.generated import OTHER_WORDS, WORDS
from ssm4rec.stages.evaluate.__main__ import run as evaluate
from ssm4rec.stages.evaluate.settings import Settings as Evaluation
from ssm4rec.stages.prepare_data.__main__ import run as prepare
from ssm4rec.stages.prepare_data.settings import Settings as Preparation
from ssm4rec.stages.train_recommender.__main__ import run as train
from ssm4rec.stages.train_recommender.settings import Settings as Training

RECIPE = "model.item_vectors=id+text,model.repeat_term=false,training.tokens_per_batch=600"
RARE = f"{RECIPE},training.users_share=0.1,training.epochs=40,training.patience=40"


def prepared(folder: Path, dataset: str, users: int) -> Path:
    told = [f"--dataset={dataset}", f"--draw-users={users}", f"--dataset-dir={folder / dataset}"]
    prepare(Preparation.parser().parse_args(told))
    return folder / dataset


def trained(dataset: Path, out: Path, overrides: str, *flags: str) -> Path:
    told = [f"--dataset-dir={dataset}", "--model=sasrec", "--profile=smoke", f"--overrides={overrides}", *flags]
    train(Training.parser().parse_args([*told, f"--model-dir={out}", f"--curve={out}.curve"]))
    return out


def loss(dataset: Path, model: Path) -> float:
    """Return the test loss in nats."""
    outputs = [f"--{name}={model}.{name}" for name in ("ranks", "candidates", "metrics")]
    evaluate(Evaluation.parser().parse_args([f"--dataset-dir={dataset}", f"--model-dir={model}", *outputs]))
    found = EvaluationSummary.read(Path(f"{model}.metrics")).nll
    assert found is not None
    return found.value


@pytest.mark.slow
def test_words_carry_over_and_shuffled_words_do_not(tmp_path: Path) -> None:
    """30 users of a catalog whose every item is new, from scratch and after 500 users of another one."""
    target = prepared(tmp_path, WORDS, 300)
    scratch = loss(target, trained(target, tmp_path / "scratch", RARE))
    gains = []
    for place, source in enumerate((OTHER_WORDS, f"{WORDS}-shuffled")):
        pretrained = trained(
            prepared(tmp_path, source, 500), tmp_path / f"pretrained{place}", f"{RECIPE},training.epochs=10"
        )
        tuned = trained(target, tmp_path / f"tuned{place}", RARE, f"--initial-model={pretrained}")
        gains.append(scratch - loss(target, tuned))
    assert gains[0] > 0.2
    assert gains[1] < 0.1
