"""Settings of the ranker whose tokens are items (``item_model.py``); ``recipes/rankers.py`` gives them for profiles."""

from dataclasses import dataclass

from ssm4rec.llm.checks import check_fields


@dataclass(frozen=True)
class ItemSettings:
    """Sizes and training of a ranker whose tokens are items.

    Attributes:
        layers: the language model's upper layers, which are trained and read a history; those below, frozen, read
            each title once.
        title_tokens: a title is cut after so many.
        features: principal components of the titles' states that input and output vectors are made of.
        id_width: of each item's own learned vector; where it begins as the retriever's, that one's width.
        query_width: of the vectors whose product is an item's score.
        dropout: of each layer's contribution, and before the scores.
        history: at most so many of a user's latest items, the length of a training sequence, too.
        steps: of the optimizer; the users' training items are gone through as often as that takes.
        positions: of a step's batch, padding included.
        learning_rate: of what is new, after ``warmup`` (a share of the steps); it falls linearly to zero.
        layers_rate: the same of the language model's layers.
        validation_users: of those whose target the retriever found, at most so many, drawn by seed; the ranking of
            these decides which weights stay; 0: all, which on MovieLens-1M cost half of the training.
        evaluations: how often they are ranked, evenly spread over the training.
        patience: stop after so many evaluations without a better NDCG@10.
    """

    layers: int = 2
    title_tokens: int = 32
    features: int = 256
    id_width: int = 64
    query_width: int = 256
    dropout: float = 0.2
    history: int = 64
    steps: int = 400
    positions: int = 1024
    learning_rate: float = 1e-3
    layers_rate: float = 3e-4
    warmup: float = 0.05
    weight_decay: float = 0.01
    gradient_norm: float = 1.0
    validation_users: int = 1000
    evaluations: int = 8
    patience: int = 4

    def __post_init__(self) -> None:
        above_zero = (
            "layers", "title_tokens", "features", "id_width", "query_width", "history", "steps", "positions",
            "evaluations", "patience",
        )  # fmt: skip
        check_fields(self, above_zero, lambda value: value >= 1, "is at least 1")
        check_fields(self, ("learning_rate", "layers_rate", "gradient_norm"), lambda value: value > 0, "is above 0")
        check_fields(self, ("dropout", "warmup"), lambda value: 0 <= value < 1, "is a share: from 0 to below 1")
        check_fields(self, ("weight_decay", "validation_users"), lambda value: value >= 0, "is 0 or above")
