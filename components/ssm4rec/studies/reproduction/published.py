"""Published figures of MovieLens-1M that were made with RecBole: HIT@10 and NDCG@10, as printed.

All of them are of RecBole's order of events (``data/event_order.py``), leave-one-out, all items ranked, history not
masked: RecBole's evaluation of sequential models never masks it. They compare with no other numbers.
"""

from dataclasses import dataclass
from typing import Any, Final

from ssm4rec.artifacts.names import LEAVE_ONE_OUT, PAPER_RECOMMENDERS
from ssm4rec.data.event_order import RECBOLE
from ssm4rec.report.paper import PAPER, SOURCE
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.reproduction.plan import DATASET


@dataclass(frozen=True)
class PublishedFigures:
    """What one source prints of one model.

    ``setting`` is what is known of the training. Figures are as printed: the digits show the precision.
    """

    model: str
    source: str
    setting: str
    hit_10: str
    ndcg_10: str | None

    def printed(self, metric: str) -> str | None:
        """Return a metric as printed."""
        return {"hit@10": self.hit_10, "ndcg@10": self.ndcg_10}[metric]


PAPER_TABLE: Final = f"{SOURCE}, Table {PAPER[DATASET].number}"
_MAMBA4REC: Final = "arXiv 2403.03900 (Mamba4Rec)"

PUBLISHED: Final = (
    *(
        PublishedFigures(row.model, PAPER_TABLE, "seeds, epochs and hyperparameters not given", row.hit_10, row.ndcg_10)
        for row in PAPER[DATASET].rows
        if row.model in PAPER_RECOMMENDERS
    ),
    PublishedFigures("sasrec", _MAMBA4REC, "a baseline of that paper, rounded to three digits", "0.298", "0.169"),
    PublishedFigures("mamba4rec", _MAMBA4REC, "one layer", "0.3121", "0.1822"),
    PublishedFigures("mamba4rec", "ziwliu-cityu/SIMGA, RecMamba.ipynb", "log of one RecBole run", "0.3046", "0.1748"),
    PublishedFigures(
        "mamba4rec", "AlwaysFHao/TiM4Rec, issue 1", "one layer, by a reader who trained it again", "0.3169", None
    ),
    PublishedFigures("mamba4rec", "AlwaysFHao/TiM4Rec, issue 1", "two layers, by that paper's authors", "0.3253", None),
)
"""Every figure, those of the paper first; Mamba4Rec's own were compared with chengkai-liu/Mamba4Rec, issue 3."""


def published_of(model: str) -> list[PublishedFigures]:
    """Return the published figures of a model."""
    return [one for one in PUBLISHED if one.model == model]


def check_comparable(manifest: dict[str, Any]) -> None:
    """Raise InputError for data that the published figures are not of."""
    if manifest["dataset"] != DATASET:
        raise InputError(
            f"the data set is {manifest['dataset']}: the published figures are of {DATASET}; give that, or report on "
            "this one as a comparative study (--study comparative)"
        )
    if manifest["split"]["name"] != LEAVE_ONE_OUT:
        raise InputError(
            f"the data are split by {manifest['split']['name']}: the published figures are of {LEAVE_ONE_OUT}; run "
            f"prepare_data with --splitting {LEAVE_ONE_OUT}"
        )
    order = manifest["event_order"]["name"]
    if order != RECBOLE:
        raise InputError(
            f"the order of events is {order}: the published figures are of RecBole's, in which other items are the "
            f"targets; run prepare_data with --event-order {RECBOLE}"
        )
