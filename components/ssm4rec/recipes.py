"""Recipes: one function per published row, giving a full configuration of model and training.

A profile sets sizes and nothing else: ``paper`` is the published setting, ``best`` our tuned one, ``quick`` a few
minutes on a CPU core with real but under-trained numbers, ``smoke`` a few seconds for tests.

The paper (arXiv 2408.05606) says little about training: "All experiments were conducted using the same initial
hyperparameters for better interpretability" (section 3.4). Where it is silent, ``paper`` takes the setting of
Mamba4Rec, whose architecture and code base it extends (Liu et al. 2024; chengkai-liu/Mamba4Rec:config.yaml). One
deviation is ours: Mamba4Rec trains on every prefix of every user as an example of its own; we train on all positions
of a sequence at once, which shows the same targets at a fraction of the cost.
"""

import dataclasses
from typing import Any

from ssm4rec.contracts import MODELS, PROFILES
from ssm4rec.errors import InputError
from ssm4rec.models.mamba2 import Mamba2Config
from ssm4rec.models.mamba4rec import Mamba4RecConfig
from ssm4rec.models.sasrec import SASRecConfig
from ssm4rec.training.settings import Recipe, TrainingSettings


def recipe(model: str, profile: str, dataset: str, overrides: str = "") -> Recipe:
    """Return the recipe of a model at a profile for a data set.

    Args:
        model: a name of ``contracts.MODELS``.
        profile: a name of ``contracts.PROFILES``.
        dataset: its name decides the history's length: 50 items for Amazon's short histories, else 200 (Mamba4Rec,
            "max sequence length 200 for ML-1M and 50 for the Amazon data sets").
        overrides: ``section.field=value`` pairs separated by commas, such as ``training.epochs=3,model.dropout=0.1``.

    Raises:
        InputError: an unknown name, or an override that does not fit.
    """
    if profile not in PROFILES:
        raise InputError(f"--profile {profile}: unknown; choose from {', '.join(PROFILES)}")
    maximum_length = 50 if dataset.startswith("amazon") else 200
    match model:
        case "sasrec":
            chosen = sasrec(profile, maximum_length)
        case "2mamba4rec":
            chosen = two_mamba4rec(profile, maximum_length)
        case _:
            raise InputError(f"--model {model}: unknown; choose from {', '.join(MODELS)}")
    for pair in filter(None, overrides.split(",")):
        chosen = _override(chosen, pair.strip())
    return chosen


def sasrec(profile: str, maximum_length: int) -> Recipe:
    """SASRec (Kang & McAuley 2018), the paper's baseline: "SASRec … 320k (100k)" parameters on ML-1M."""
    model = SASRecConfig(
        maximum_length=maximum_length,
        width=64,  # Mamba4Rec: hidden_size 64
        layers=2,  # 2 layers have 99,968 parameters, the paper's "100k"
        heads=2,  # RecBole's SASRec
        inner_width=256,  # RecBole's SASRec
        dropout=0.2,  # Mamba4Rec: dropout_prob 0.2
        norm="post",  # RecBole's SASRec
    )
    if profile in ("best", "quick"):
        model = dataclasses.replace(model, norm="pre")
    if profile == "smoke":
        model = dataclasses.replace(model, width=16, layers=1, inner_width=32)
    return Recipe(model, _training(profile))


def two_mamba4rec(profile: str, maximum_length: int) -> Recipe:
    """2Mamba4Rec: Mamba4Rec's architecture, "replacing the Mamba block with the Mamba2 block" (section 3.1)."""
    model = Mamba4RecConfig(
        maximum_length=maximum_length,
        width=64,  # Mamba4Rec: hidden_size 64
        layers=1,  # Mamba4Rec: num_layers 1
        inner_width=256,  # "W1 in R^(D x 4D)"
        dropout=0.2,  # Mamba4Rec: dropout_prob 0.2
        # State 128 and head width 64 are Mamba-2's defaults. With them one layer has 76,486 parameters, the paper's
        # "80k"; Mamba4Rec's state of 32 would give 62k to 63k.
        mixer=Mamba2Config(state_size=128, head_width=64, convolution_width=4, expand=2, chunk_length=32),
    )
    lean = dataclasses.replace(model.mixer, state_size=32, head_width=32)
    if profile == "best":
        model = dataclasses.replace(model, layers=2, mixer=lean)
    if profile == "quick":
        model = dataclasses.replace(model, mixer=lean)
    if profile == "smoke":
        small = dataclasses.replace(lean, state_size=8, head_width=16)
        model = dataclasses.replace(model, width=16, inner_width=32, mixer=small)
    return Recipe(model, _training(profile))


def _training(profile: str) -> TrainingSettings:
    paper = TrainingSettings(
        epochs=200,
        patience=10,  # Mamba4Rec: stopping_step 10
        tokens_per_batch=2048,  # Mamba4Rec: train_batch_size 2048, in targets
        learning_rate=1e-3,  # Mamba4Rec: learning_rate 0.001
        schedule="constant",
        betas=(0.9, 0.999),  # Adam's defaults
        weight_decay=0.0,
        gradient_norm=5.0,  # Mamba4Rec: clip_grad_norm {'max_norm': 5}
    )
    tuned = dataclasses.replace(
        paper,
        epochs=40,
        tokens_per_batch=3200,
        learning_rate=2e-3,
        schedule="cosine",
        betas=(0.9, 0.98),
        weight_decay=0.01,
    )
    match profile:
        case "paper":
            return paper
        case "best":
            return tuned
        case "quick":
            return dataclasses.replace(tuned, epochs=30)
        case _:
            return dataclasses.replace(tuned, epochs=2)


def _override(chosen: Recipe, pair: str) -> Recipe:
    path, equals, text = pair.partition("=")
    section, _, field = path.partition(".")
    if not equals or section not in ("model", "training"):
        raise InputError(
            f"--overrides {pair}: write section.field=value, such as training.epochs=3 or model.dropout=0.1"
        )
    try:
        changed: Any = _replace(getattr(chosen, section), field.split("."), text, pair)
    except ValueError as error:  # of the configuration: the value has the right type and makes no sense
        raise InputError(f"--overrides {pair}: {error}") from None
    return dataclasses.replace(chosen, **{section: changed})


def _replace(settings: Any, fields: list[str], text: str, pair: str) -> Any:
    """Return ``settings`` with the (nested) field set to ``text``, read as the type of the present value."""
    names = [field.name for field in dataclasses.fields(settings)]
    if fields[0] not in names:
        raise InputError(f"--overrides {pair}: no field {fields[0]!r}; choose from {', '.join(names)}")
    present = getattr(settings, fields[0])
    if dataclasses.is_dataclass(present):
        if len(fields) == 1:
            raise InputError(f"--overrides {pair}: {fields[0]} has fields of its own; name one of them")
        return dataclasses.replace(settings, **{fields[0]: _replace(present, fields[1:], text, pair)})
    if len(fields) > 1 or isinstance(present, tuple):
        raise InputError(f"--overrides {pair}: {fields[0]} cannot be set this way")
    try:
        value = type(present)(text)
    except ValueError:
        raise InputError(f"--overrides {pair}: {text!r} is no {type(present).__name__}") from None
    return dataclasses.replace(settings, **{fields[0]: value})
