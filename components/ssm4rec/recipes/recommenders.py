"""Recipes: one function per recommender, giving a full configuration of model and training.

A profile sets sizes, and all but ``paper`` a repeat term (``models/repeat_term.py``): ``paper`` is the published
setting, ``best`` ours, found on validation data alone (tests/benchmarks/LOG.md), ``quick`` a few minutes on a CPU
core with real but under-trained numbers, ``smoke`` a few seconds for tests. Histories are ``short`` (Amazon's: 8 items
or so) or ``long`` (MovieLens': 100 and more).

The paper (arXiv 2408.05606) says little about training: "All experiments were conducted using the same initial
hyperparameters for better interpretability" (section 3.4). Where it is silent, ``paper`` takes the setting of
Mamba4Rec, whose architecture and code base it extends (Liu et al. 2024; chengkai-liu/Mamba4Rec:config.yaml).
"""

from dataclasses import replace
from typing import Literal, cast

from ssm4rec.artifacts.dataset import SequenceDataset
from ssm4rec.artifacts.names import MODELS, PROFILES
from ssm4rec.models.hydra import HydraConfig
from ssm4rec.models.hydra4rec import Hydra4RecConfig
from ssm4rec.models.lrurec import LRURecConfig
from ssm4rec.models.mamba import MambaConfig
from ssm4rec.models.mamba2 import Mamba2Config
from ssm4rec.models.mamba4rec import Mamba4RecConfig
from ssm4rec.models.sasrec import SASRecConfig
from ssm4rec.recipes.overrides import override
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.settings import Recipe, TrainingSettings, check_fits

Profile = Literal["smoke", "quick", "paper", "best"]
Histories = Literal["short", "long"]

MAXIMUM_LENGTH = {"long": 200, "short": 50}
"""Mamba4Rec: "max sequence length 200 for ML-1M and 50 for the Amazon data sets"."""


def histories(dataset: SequenceDataset) -> Histories:
    """Return which kind of histories a data set has: short with fewer than 20 training items a user on average."""
    return "short" if dataset.train_length.mean() < 20 else "long"


def recipe(model: str, profile: str, histories: Histories, overrides: str = "") -> Recipe:
    """Return the recipe of a model.

    Args:
        model: a name of ``names.MODELS``.
        profile: a name of ``names.PROFILES``.
        histories: see the module's description.
        overrides: ``section.field=value`` pairs separated by commas, such as ``training.epochs=3,model.dropout=0.1``.

    Raises:
        InputError: an unknown name, or an override that does not fit.
    """
    if profile not in PROFILES:
        raise InputError(f"--profile {profile}: unknown; choose from {', '.join(PROFILES)}")
    functions = {
        "sasrec": sasrec,
        "mamba4rec": mamba4rec,
        "2mamba4rec": two_mamba4rec,
        "hydra4rec": hydra4rec,
        "lrurec": lrurec,
    }
    if model not in functions:
        raise InputError(f"--model {model}: unknown; choose from {', '.join(MODELS)}")
    size = "quick" if profile == "llm-small" else profile  # which is about language models
    chosen = override(functions[model](cast("Profile", size), histories), overrides)
    bidirectional = chosen.model if isinstance(chosen.model, Hydra4RecConfig) else None
    try:
        check_fits(
            chosen.training.objective,
            causal=bidirectional is None,
            masks=bidirectional is not None and bidirectional.readout == "mask",
        )
    except ValueError as error:
        raise InputError(f"--overrides {overrides}: {error}") from None
    return chosen


def sasrec(profile: Profile, histories: Histories) -> Recipe:
    """SASRec (Kang & McAuley 2018), the paper's baseline: "SASRec … 320k (100k)" parameters on ML-1M."""
    model = SASRecConfig(
        maximum_length=MAXIMUM_LENGTH[histories],
        width=64,  # Mamba4Rec: hidden_size 64
        layers=2,  # 2 layers have 99,968 parameters, the paper's "100k"
        heads=2,  # RecBole's SASRec
        inner_width=256,  # RecBole's SASRec
        dropout=0.2,  # Mamba4Rec: dropout_prob 0.2
        norm="post",  # RecBole's SASRec
        repeat_term=profile != "paper",
    )
    training = _training(profile, histories)
    match profile:
        case "best" | "quick":
            layers = 2 if histories == "long" else 1
            model = replace(model, norm="pre", layers=layers, dropout=_dropout(histories))
        case "smoke":
            model = replace(model, width=16, layers=1, inner_width=32)
    if profile == "best" and histories == "long":  # after 40 epochs it was still rising
        training = replace(training, epochs=80, patience=15)
    return Recipe(model, training)


def mamba4rec(profile: Profile, histories: Histories) -> Recipe:
    """Mamba4Rec (Liu et al. 2024; chengkai-liu/Mamba4Rec:config.yaml)."""
    mixer = MambaConfig(state_size=32, convolution_width=4, expand=2, dt_rank=0, init="paper")
    match profile:
        case "best" | "quick":
            mixer = replace(mixer, init="mamba")
        case "smoke":
            mixer = replace(mixer, state_size=8)
    return _mamba4rec(profile, histories, mixer)


def two_mamba4rec(profile: Profile, histories: Histories) -> Recipe:
    """2Mamba4Rec: Mamba4Rec's architecture, "replacing the Mamba block with the Mamba2 block" (section 3.1)."""
    # State 128 and head width 64 are Mamba-2's defaults. With them one layer has 76,486 parameters, the paper's
    # "80k"; Mamba4Rec's state of 32 would give 62k to 63k.
    mixer = Mamba2Config(state_size=128, head_width=64, convolution_width=4, expand=2, chunk_length=32)
    match profile:
        case "best" | "quick":
            mixer = replace(mixer, state_size=32, head_width=32)
        case "smoke":
            mixer = replace(mixer, state_size=8, head_width=16)
    return _mamba4rec(profile, histories, mixer)


def _mamba4rec(profile: Profile, histories: Histories, mixer: MambaConfig | Mamba2Config) -> Recipe:
    model = Mamba4RecConfig(
        maximum_length=MAXIMUM_LENGTH[histories],
        width=64,  # Mamba4Rec: hidden_size 64
        layers=1,  # Mamba4Rec: num_layers 1
        inner_width=256,  # "W1 in R^(D x 4D)"
        dropout=0.2,  # Mamba4Rec: dropout_prob 0.2
        mixer=mixer,
        repeat_term=profile != "paper",
    )
    match profile:
        case "best":
            model = replace(model, layers=2, dropout=_dropout(histories))
        case "smoke":
            model = replace(model, width=16, inner_width=32)
    return Recipe(model, _training(profile, histories))


def hydra4rec(profile: Profile, histories: Histories) -> Recipe:
    """Hydra4Rec: "a custom Hydra layer that combines the Hydra block with a standard feed-forward network" (3.3).

    The published form, one layer read at the last position, leaves the backward half of its mixer without any
    gradient; ``best`` has two layers and is trained on masked items (cloze), as a model that is not causal may be.
    """
    model = Hydra4RecConfig(
        maximum_length=MAXIMUM_LENGTH[histories],
        width=64,  # Mamba4Rec: hidden_size 64
        layers=1,  # Mamba4Rec: num_layers 1
        inner_width=256,  # "the same PFFN that was introduced in Mamba4Rec"
        dropout=0.2,  # Mamba4Rec: dropout_prob 0.2
        readout="last",  # "last item embedding is used to generate the final prediction scores" (3.3.1)
        # goombalab/hydra:hydra/modules/hydra.py: state 64, head width 64, convolution 7, expand 2
        mixer=HydraConfig(state_size=64, head_width=64, convolution_width=7, expand=2, chunk_length=50),
        repeat_term=profile != "paper",
    )
    training = _training(profile, histories)
    cloze = replace(training, objective="cloze", mask_share=0.3)
    lean = replace(model.mixer, state_size=32, head_width=32)
    match profile:
        case "best" | "quick":
            model = replace(model, layers=2, readout="mask", mixer=lean, dropout=_dropout(histories))
            if profile == "best" and histories == "long":  # 40 epochs of 30% of the items were few
                cloze = replace(cloze, epochs=70, patience=20)
            return Recipe(model, cloze)
        case "smoke":
            small = replace(lean, state_size=8, head_width=16)
            return Recipe(replace(model, width=16, inner_width=32, readout="mask", mixer=small), cloze)
        case "paper":
            return Recipe(model, training)


def lrurec(profile: Profile, histories: Histories) -> Recipe:
    """LRURec, LlamaRec's retriever (Yueeeeeeee/LlamaRec:config.py, model/lru.py)."""
    model = LRURecConfig(
        maximum_length=MAXIMUM_LENGTH[histories],  # bert_max_len 200, 50 for Amazon
        width=64,  # bert_hidden_units 64
        layers=2,  # bert_num_blocks 2
        inner_width=256,  # d_ff = hidden_size * 4
        dropout=0.2,  # bert_dropout 0.2
        expand=2,  # hidden_size = 2 * d_model
        minimum_modulus=0.8,  # r_min
        maximum_modulus=0.99,  # r_max
        output_bias=True,
        repeat_term=profile != "paper",
    )
    training = _training(profile, histories)
    match profile:
        case "paper":
            training = replace(
                training,
                objective="next-item",
                rows_per_batch=16 if histories == "long" else 64,  # train_batch_size 16 (ml-100k), 64
                weight_decay=0.01,  # weight_decay 0.01
                epochs=500,  # num_epochs 500
            )
        case "best" | "quick":
            # Without the bias the softmax is a quarter faster: 64 columns in place of 65.
            model = replace(model, output_bias=False, dropout=_dropout(histories))
        case "smoke":
            model = replace(model, width=16, inner_width=32, layers=1)
    return Recipe(model, training)


def _dropout(histories: Histories) -> float:
    return 0.2 if histories == "long" else 0.5


def _training(profile: Profile, histories: Histories) -> TrainingSettings:
    paper = TrainingSettings(
        epochs=200,
        patience=10,  # Mamba4Rec: stopping_step 10
        tokens_per_batch=2048 * MAXIMUM_LENGTH[histories],
        rows_per_batch=2048,  # Mamba4Rec: train_batch_size 2048, in prefixes
        learning_rate=1e-3,  # Mamba4Rec: learning_rate 0.001
        warmup=0.0,
        schedule="constant",
        betas=(0.9, 0.999),  # Adam's defaults
        weight_decay=0.0,
        gradient_norm=5.0,  # Mamba4Rec: clip_grad_norm {'max_norm': 5}
        objective="every-prefix",  # RecBole's data augmentation
    )
    tuned = replace(
        paper,
        epochs=40 if histories == "long" else 30,
        tokens_per_batch=3200 if histories == "long" else 1600,
        rows_per_batch=3200,
        learning_rate=2e-3,
        schedule="cosine",
        betas=(0.9, 0.98),
        weight_decay=0.01 if histories == "long" else 0.1,
        objective="next-item",
    )
    match profile:
        case "paper":
            return paper
        case "best":
            return tuned
        case "quick":
            return replace(tuned, epochs=30)
        case "smoke":
            return replace(tuned, epochs=2)
