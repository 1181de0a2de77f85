"""Recipes: the full configuration of a recommender and its training.

What is a recommender's own stands in its file of ``models/``; what they share, here. A profile sets sizes, and all but
``paper`` a repeat term (``models/repeat_term.py``): ``paper`` is the published setting, ``best`` ours, found on
validation data alone (tests/benchmarks/LOG.md), ``quick`` a few minutes on a CPU core with real but under-trained
numbers, ``smoke`` a few seconds for tests. Histories are ``short`` (Amazon's: 8 items or so) or ``long`` (MovieLens':
100 and more).

The paper (arXiv 2408.05606) says little about training: "All experiments were conducted using the same initial
hyperparameters for better interpretability" (section 3.4). Where it is silent, ``paper`` takes the setting of
Mamba4Rec, whose architecture and code base it extends (Liu et al. 2024; chengkai-liu/Mamba4Rec:config.yaml).
"""

from dataclasses import replace
from typing import Final, cast

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.names import PROFILES
from ssm4rec.models.sizes import MAX_LENGTH, Histories, Profile
from ssm4rec.models.table import MODELS, config_class
from ssm4rec.recipes.overrides import override
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.settings import Recipe, TrainingSettings

_BATCH: Final = {"training.rows_per_batch", "training.tokens_per_batch"}
_PARTS: Final = "training.micro_batches"


def histories(dataset: SequenceDataset) -> Histories:
    """Return which kind of histories a data set has: short with fewer than 20 training items per user on average."""
    return "short" if dataset.train_length.mean() < 20 else "long"


def recipe(model: str, profile: str, histories: Histories, overrides: str = "") -> Recipe:
    """Return the recipe of a model; raise InputError for an unknown name, or an override that does not fit.

    ``overrides`` are pairs such as ``training.epochs=3,model.dropout=0.1``, separated by commas. With batches of
    another size than the recipe's, a step is one batch, unless they name ``training.micro_batches``, too.
    """
    if profile not in PROFILES:
        raise InputError(f"--profile {profile}: unknown; choose from {', '.join(PROFILES)}")
    if model not in MODELS:
        raise InputError(f"--model {model}: unknown; choose from {', '.join(MODELS)}")
    # llm-small is about language models.
    size = cast("Profile", "quick" if profile == "llm-small" else profile)
    sizes, differences = config_class(model).recipe(size, histories)
    chosen = override(Recipe(sizes, replace(_training(size, histories), **differences)), overrides)
    told = {pair.partition("=")[0].strip() for pair in overrides.split(",")}
    if told & _BATCH and _PARTS not in told:  # whoever says what a batch is, says what a step is
        chosen = replace(chosen, training=replace(chosen.training, micro_batches=1))
    try:
        chosen.check()
    except ValueError as error:
        raise InputError(f"--overrides {overrides}: {error}") from None
    return chosen


def _training(profile: Profile, histories: Histories) -> TrainingSettings:
    length = MAX_LENGTH[histories]
    # Mamba4Rec: train_batch_size 2048, in prefixes. In parts of 51,200 items a training of MovieLens-1M takes 4 to 5
    # GB; whole, 20. A step of several parts has several lengths of history, too: RecBole's batches have all lengths.
    parts = {"long": 8, "short": 2}[histories]
    paper = TrainingSettings(
        epochs=200,
        patience=10,  # Mamba4Rec: stopping_step 10
        tokens_per_batch=2048 // parts * length,
        rows_per_batch=2048 // parts,
        micro_batches=parts,
        learning_rate=1e-3,  # Mamba4Rec: learning_rate 0.001
        warmup=0.0,
        schedule="constant",
        betas=(0.9, 0.999),  # Adam's defaults
        weight_decay=0.0,
        gradient_norm=5.0,  # Mamba4Rec: clip_grad_norm {'max_norm': 5}
        objective="every-prefix",  # RecBole's data augmentation
    )
    if profile == "paper":
        return paper
    long = histories == "long"
    return replace(
        paper,
        epochs={"best": 40 if long else 30, "quick": 30, "smoke": 2}[profile],
        tokens_per_batch=3200 if long else 1600,
        rows_per_batch=3200,
        micro_batches=1,
        learning_rate=2e-3,
        schedule="cosine",
        betas=(0.9, 0.98),
        weight_decay=0.01 if long else 0.1,
        objective="next-item",
    )
