"""The numbers of the paper, as printed: Tables 1 to 4 of arXiv 2408.05606.

Values are text: the digits are the paper's precision. ``None`` stands where the paper prints a dash or nothing.
Model names are those of our command lines.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

SOURCE: Final = "arXiv 2408.05606"


@dataclass(frozen=True)
class PaperRow:
    """One row of Table 1, 2 or 3; without embeddings is the number that the paper prints in parentheses."""

    model: str
    hit_10: str
    ndcg_10: str
    mrr_10: str | None
    latency: str | None
    parameters: str
    parameters_without_embeddings: str | None = None


@dataclass(frozen=True)
class Counts:
    """One row of Table 4."""

    users: int
    items: int
    interactions: int


@dataclass(frozen=True)
class PaperTable:
    """What the paper says of one data set.

    Attributes:
        counts: its row of Table 4, as printed: users and items are one above the plain counts.
        caveats: what to know before comparing with these rows.
        in_one_order: of pairs of items in ties, at least this share stands in one order for all users, if the rows of
            the file are in the published order.
    """

    number: int
    title: str
    counts: Counts
    rows: tuple[PaperRow, ...]
    caveats: tuple[str, ...] = ()
    in_one_order: float = 0.0


COMMON_NOTES: Final = (
    "The paper does not name its evaluation code or its split. The counts of its Table 4 are RecBole's: one more user "
    "and one more item than there are, for the padding entry. RecBole's sequential evaluation leaves out each user's "
    "last item as the target, ranks the whole catalog and does not mask the history; so the comparison is with the "
    "history unmasked.",
    "The paper prints neither the number of seeds nor a spread, and says that all experiments used the same initial "
    "hyperparameters without giving them. A difference from its rows may come from training as much as from the "
    "architecture.",
    "It prints latencies without a unit: for language models tokens per second, for the others the average time to "
    "serve one user, on one A100-80GB.",
    "It does not say whether LlamaRec's metrics are over all users or only over those whose target is among the "
    "retriever's candidates.",
)


def _hydra_caveat(printed: str, items: int) -> str:
    # Width 64 is that of the other rows: their parameters without embeddings fit it.
    return (
        f"The paper's {printed} parameters of hydra4rec are fewer than its item embeddings alone would have at width "
        f"64 ({items:,} \N{MULTIPLICATION SIGN} 64 = {items * 64:,}): that row cannot be reproduced as stated."
    )


PAPER: Final[Mapping[str, PaperTable]] = {
    "amazon-2023-beauty": PaperTable(
        number=1,
        title="Amazon Reviews '23 Beauty and Personal care",
        counts=Counts(750_835, 211_452, 6_860_059),
        rows=(
            PaperRow("sasrec", "0.048", "0.028", "0.022", "0.117", "14M", "100k"),
            PaperRow("mamba4rec", "0.048", "0.030", "0.025", "0.0075", "14M", "80k"),
            PaperRow("mamrec", "0.031", "0.020", "0.017", "2.51", "130M"),
            PaperRow("gpt4rec", "0.030", "0.025", "0.015", "2.32", "117M"),
            PaperRow("2mamba4rec", "0.048", "0.031", "0.028", "0.0110", "14M", "80k"),
            PaperRow("llamarec", "0.093", "0.040", "0.040", None, "7B"),
            PaperRow("hydra4rec", "0.070", "0.043", "0.035", "0.0042", "840k"),
        ),
        caveats=(_hydra_caveat("840k", 211_452),),
    ),
    "amazon-2023-video-games": PaperTable(
        number=2,
        title="Amazon Reviews '23 Video Games",
        counts=Counts(98_907, 26_355, 857_505),
        rows=(
            PaperRow("sasrec", "0.119", "0.073", "0.059", "0.129", "1.8M", "100k"),
            PaperRow("mamba4rec", "0.107", "0.062", "0.048", "0.0088", "1.8M", "80k"),
            PaperRow("mamrec", "0.083", "0.033", "0.025", "2.51", "130M"),
            PaperRow("gpt4rec", "0.080", "0.042", "0.026", "2.32", "117M"),
            PaperRow("2mamba4rec", "0.118", "0.061", "0.048", "0.0103", "1.8M", "80k"),
            PaperRow("llamarec", "0.150", "0.098", "0.064", None, "7B"),
            PaperRow("hydra4rec", "0.112", "0.059", "0.044", "0.0037", "750k"),
        ),
        caveats=(_hydra_caveat("750k", 26_355),),
    ),
    "ml-1m": PaperTable(
        number=3,
        title="MovieLens-1M",
        counts=Counts(6_041, 3_417, 999_611),
        rows=(
            PaperRow("sasrec", "0.224", "0.117", "0.084", "0.128", "320k", "100k"),
            PaperRow("mamba4rec", "0.303", "0.178", "0.139", "0.0020", "300k", "80k"),
            PaperRow("mamrec", "0.201", "0.072", "0.064", "2.51", "130M"),
            PaperRow("gpt4rec", "0.212", "0.074", "0.060", "3.23", "117M"),
            PaperRow("2mamba4rec", "0.340", "0.193", "0.148", "0.0034", "300k", "80k"),
            PaperRow("hydra4rec", "0.308", "0.179", "0.140", "0.0005", "290k"),
            PaperRow("llamarec", "0.148", "0.067", None, None, "7B"),
        ),
        in_one_order=0.8,  # .89 in ratings.dat, .5 once its rows are shuffled
    ),
}
"""The paper's tables by our name of the data set."""
