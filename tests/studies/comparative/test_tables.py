"""Cells of the tables, computed here by hand."""

import math

import pytest

from ssm4rec.artifacts.names import BASELINES
from ssm4rec.report.markdown import MISSING, escape, listed, setting_cell
from ssm4rec.report.paper import PAPER
from ssm4rec.report.tables import data_counts, filters, recipes, sources, trainings
from ssm4rec.studies.comparative import tables


def cells(markdown):
    """Return a Markdown table as {first cell: the other cells}, header included."""
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in markdown.splitlines()]
    assert len({len(row) for row in rows}) == 1
    return {row[0]: row[1:] for row in rows}


def test_comparison_shows_this_run_beside_all_rows_of_the_paper(builder):
    study = builder.study(
        builder.evaluation(seed=0, value=0.20), builder.evaluation(seed=1, value=0.26), builder.evaluation("newcomer")
    )
    table = cells(tables.paper_comparison(study, PAPER["ml-1m"]))
    mean, spread = (0.20 + 0.26) / 2, math.sqrt(((0.20 - 0.23) ** 2 + (0.26 - 0.23) ** 2) / (2 - 1))
    ours = f"{mean:.4f} ± {spread:.4f}"
    assert ours == "0.2300 ± 0.0424"
    assert table["sasrec"] == ["2 seeds", ours, "0.224", ours, "0.117", ours, "0.084"]
    assert table["2mamba4rec"] == ["not trained", MISSING, "0.340", MISSING, "0.193", MISSING, "0.148"]
    assert table["llamarec"] == ["not trained", MISSING, "0.148", MISSING, "0.067", MISSING, MISSING]
    assert table["newcomer"] == ["1 seed", "0.2500", MISSING, "0.2500", MISSING, "0.2500", MISSING]
    assert table["most-popular"] == ["baseline", "0.0300", MISSING, "0.0300", MISSING, "0.0300", MISSING]
    paper_order = ["sasrec", "mamba4rec", "mamrec", "gpt4rec", "2mamba4rec", "hydra4rec", "llamarec"]
    assert list(table)[2:] == [*paper_order, "newcomer", *BASELINES]


def test_parameters_are_exact_beside_the_printed_ones(builder):
    table = cells(tables.parameter_comparison(builder.study(builder.evaluation()), PAPER["ml-1m"]))
    assert table["sasrec"] == ["318,592", "320k", "99,968", "100k", "0.128"]
    assert table["hydra4rec"] == ["not trained", "290k", "not trained", MISSING, "0.0005"]


@pytest.mark.parametrize(
    ("protocol", "ours", "baseline"), [("unmasked", "0.2500", "0.0300"), ("masked", "0.3500", "0.0400")]
)
def test_a_table_of_metrics_holds_one_protocol(builder, protocol, ours, baseline):
    table = cells(tables.all_metrics(builder.study(builder.evaluation()), "test", protocol))
    assert table["Metric"] == ["sasrec", *BASELINES]
    assert table["Seeds"] == ["1", *4 * [MISSING]]
    for metric in ("HIT", "NDCG", "MRR"):
        for cutoff in (5, 10, 20):
            assert table[f"{metric}@{cutoff}"][:2] == [ours, baseline]


def test_this_run_alone(builder):
    table = cells(tables.this_run(builder.study(builder.evaluation())))
    assert table["sasrec"] == ["1 seed", "0.2500", "0.2500", "0.2500", "318,592", "99,968"]
    assert table["most-popular"] == ["baseline", "0.0300", "0.0300", "0.0300", MISSING, MISSING]


def test_counts_in_both_countings_beside_table_4(builder):
    table = cells(data_counts(builder.manifest(), PAPER["ml-1m"]))
    assert table["Users"] == ["6,040", "6,041", "6,041"]
    assert table["Items"] == ["3,416", "3,417", "3,417"]
    assert table["Interactions"] == ["999,611", "999,611", "999,611"]
    assert cells(data_counts(builder.manifest(), None))["Users"] == ["6,040", "6,041"]


def test_filters_and_sources(builder):
    filtered = cells(filters(builder.manifest()))
    assert filtered["k core"] == ["5", "6,040", "6,040", "3,706", "3,416", "1,000,209", "999,611"]
    assert cells(sources(builder.manifest()))["a.zip"] == ["unknown", "c4d9", "file:///data/a.zip", "5,917,549"]


def test_recipes_part_into_what_differs_and_what_is_shared(builder):
    other = builder.evaluation(
        "2mamba4rec", recipe={"model": {"d_model": 64, "mixer": {"state": 32}}, "training": {"learning_rate": 0.002}}
    )
    study = builder.study(builder.evaluation(), other)
    different = cells(recipes(study, shared=False))
    assert different["Setting"] == ["2mamba4rec", "sasrec"]
    assert different["model.mixer.state"] == ["32", MISSING]
    assert different["training.learning_rate"] == ["0.002", "0.001"]
    assert different["training.betas"] == [MISSING, "0.9, 0.98"]
    assert cells(recipes(study, shared=True))["model.d_model"] == ["64"]
    assert recipes(builder.study(builder.evaluation()), shared=False) == ""


def test_trainings(builder):
    table, _, notes = trainings(builder.study(builder.evaluation())).partition("\n\n")
    assert cells(table)["Model"][-4:] == ["Validation NDCG@10", "Test NDCG@10", "CPU-s", "CPU-s per epoch"]
    assert cells(table)["sasrec"] == [
        "cpu", "best", "no improvement", "0", "20", "10", "0.1234", "0.2500", "1,640", "82.0",
    ]  # fmt: skip
    assert "joule" not in notes.lower()
    assert "kJ" not in notes


def test_what_trainings_cost_on_gpus_and_in_joules(builder):
    spent = {**builder.evaluation().training, "device": "cuda", "seconds": 300.0, "processes": 2}
    refit = {"model": {"d_model": 64}, "training": {"refit": True}}  # ten epochs more, up to the best one
    again = builder.evaluation("lrurec", training=spent | {"package_joules": 45_000.0}, recipe=refit)
    earlier = builder.evaluation(training={key: value for key, value in spent.items() if key != "seconds"})
    table, _, notes = trainings(builder.study(earlier, again)).partition("\n\n")
    assert cells(table)["Model"][-3:] == ["GPU-s", "GPU-s per epoch", "kJ, packages"]
    assert cells(table)["lrurec"][-3:] == ["600", "20.0", "45.0"]
    assert cells(table)["sasrec"][-3:] == 3 * [MISSING]
    assert "kJ, packages: energy of the whole processor packages" in notes
    assert "kJ, GPU" not in notes


def test_words():
    assert listed(["a"]) == "a"
    assert listed(["a", "b"]) == "a and b"
    assert escape("[x](javascript:y)\n`z` & _w_") == r"\[x\](javascript:y) \`z\` &amp; \_w\_"
    assert [setting_cell(value) for value in (None, True, False, 1e-5, [], "a|b")] == [
        MISSING,
        "yes",
        "no",
        "1e-05",
        MISSING,
        r"a\|b",
    ]
