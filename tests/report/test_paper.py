"""The paper's numbers, checked against what must hold between them."""

import pytest

from ssm4rec.artifacts.names import PAPER_RECOMMENDERS
from ssm4rec.report.paper import PAPER


@pytest.mark.parametrize("dataset", sorted(PAPER))
def test_every_table_has_the_seven_models_once(dataset):
    models = [row.model for row in PAPER[dataset].rows]
    assert sorted(models) == ["2mamba4rec", "gpt4rec", "hydra4rec", "llamarec", "mamba4rec", "mamrec", "sasrec"]
    assert set(PAPER_RECOMMENDERS) <= set(models)


@pytest.mark.parametrize("dataset", sorted(PAPER))
def test_metrics_are_in_the_order_that_their_formulas_force(dataset):
    # A hit at rank r adds 1 to HIT, 1 / log2(r + 1) to NDCG and 1 / r to MRR: HIT >= NDCG >= MRR.
    for row in PAPER[dataset].rows:
        metrics = [float(text) for text in (row.hit_10, row.ndcg_10, row.mrr_10) if text]
        assert metrics == sorted(metrics, reverse=True), row.model


def test_rows_as_printed():
    rows = {(dataset, row.model): row for dataset, table in PAPER.items() for row in table.rows}
    two = rows["ml-1m", "2mamba4rec"]
    assert (two.hit_10, two.ndcg_10, two.mrr_10, two.latency) == ("0.340", "0.193", "0.148", "0.0034")
    assert (two.parameters, two.parameters_without_embeddings) == ("300k", "80k")
    games = rows["amazon-2023-video-games", "llamarec"]
    assert (games.hit_10, games.ndcg_10, games.mrr_10, games.latency) == ("0.150", "0.098", "0.064", None)
    beauty = rows["amazon-2023-beauty", "hydra4rec"]
    assert (beauty.hit_10, beauty.ndcg_10, beauty.mrr_10, beauty.parameters) == ("0.070", "0.043", "0.035", "840k")


@pytest.mark.parametrize(
    ("dataset", "printed"), [("amazon-2023-beauty", 840_000), ("amazon-2023-video-games", 750_000)]
)
def test_the_hydra_caveat_is_true(dataset, printed):
    assert PAPER[dataset].counts.items * 64 > printed
    assert any(f"{PAPER[dataset].counts.items * 64:,}" in caveat for caveat in PAPER[dataset].caveats)
