"""The report of a reproduction study: numbers worked out from ranks by hand, and what may stand next to what."""

import math
import re
from dataclasses import replace
from typing import Any

import numpy
import pytest
import scipy.stats

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.artifacts.evaluations import EvaluationSummary
from ssm4rec.artifacts.names import BASELINES, UNMASKED
from ssm4rec.artifacts.ranks import Ranks
from ssm4rec.report.document import render_html, render_markdown
from ssm4rec.report.markdown import MISSING
from ssm4rec.report.paper import PAPER
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.reproduction.plan import Settings
from ssm4rec.studies.reproduction.published import PAPER_TABLE, PUBLISHED, published_of
from ssm4rec.studies.reproduction.report import make_report
from ssm4rec.studies.reproduction.study import Reproduction, gather_reproduction, label
from tests.conftest import WriteDataset
from tests.report.trained import StudyBuilder
from tests.studies.comparative.test_language_models import rows_of
from tests.studies.long_histories.files import evaluation as evaluation_of

USERS = 40
RESAMPLES = 4000
HITS = {
    ("2mamba4rec", "best", True): (20, 22),
    ("2mamba4rec", "best", False): (14, 21),
    ("2mamba4rec", "paper", False): (2, 23),
    ("sasrec", "best", True): (20, 22),
}
"""Of the users, how many have their target at rank 2, unmasked and masked; the others' is at rank 30."""
Pair = tuple[EvaluationSummary, Ranks]


@pytest.fixture
def dataset(write_dataset: WriteDataset) -> SequenceDataset:
    return read_sequences(write_dataset([[(user + step) % 40 + 1 for step in range(9)] for user in range(USERS)]))


def ranks_of(dataset: SequenceDataset, model: str, hits: tuple[int, int], seed: int = 0) -> Ranks:
    users = numpy.arange(USERS, dtype=numpy.int32)
    unmasked, masked = (numpy.where(users < hit, 2, 30).astype(numpy.int32) for hit in hits)
    baselines = dict.fromkeys(BASELINES, (numpy.full_like(unmasked, 3), numpy.full_like(unmasked, 4)))
    targets = dataset.items[dataset.offsets[users] + dataset.test_position]
    return Ranks(users, targets, dataset.test_position, unmasked, masked, baselines, model, seed, "test")


def trained(
    dataset: SequenceDataset, model: str, profile: str, repeat_term: bool, hits: tuple[int, int], **changes: Any
) -> Pair:
    """Return an evaluation and its ranks."""
    ranks = ranks_of(dataset, model, hits, changes.get("seed", 0))
    recipe = {"model": {"max_length": 200, "repeat_term": repeat_term}, "training": {"epochs": 24}}
    fields: dict[str, Any] = {"profile": profile, "recipe": recipe}
    return evaluation_of(ranks, 200, **(fields | changes)), ranks


def evaluated(dataset: SequenceDataset) -> list[Pair]:
    return [trained(dataset, *recipe, hits) for recipe, hits in HITS.items()]


@pytest.fixture
def study(dataset: SequenceDataset) -> Reproduction:
    return gather_reproduction(StudyBuilder().manifest(), dataset, evaluated(dataset), RESAMPLES)


def section(study: Reproduction, title: str) -> str:
    (found,) = [one.markdown for one in make_report(study).sections if one.title == title]
    return found


def test_every_number_of_the_table_comes_from_the_ranks(study: Reproduction) -> None:
    """HIT@10 is hits / 40, its bootstrap interval that of a binomial; a hit at rank 2 adds 1 / log2(3) to NDCG@10."""
    for place, title in enumerate(("History unmasked, next to the published figures", "History masked")):
        lines = {tuple(row[:3]): row[3:] for row in rows_of(section(study, title))}
        for (model, profile, term), counts in HITS.items():
            hit, ndcg, seeds, epochs, minutes = lines[model, f"`{profile}`", "yes" if term else "no"]
            share = counts[place] / USERS
            low, high = scipy.stats.binom.ppf([0.025, 0.975], USERS, share) / USERS
            found = [float(text) for text in re.findall(r"\d\.\d{4}", hit)]
            assert found == [pytest.approx(share), pytest.approx(low, abs=0.026), pytest.approx(high, abs=0.026)]
            assert float(ndcg.split(" ")[0]) == pytest.approx(share / math.log2(3), abs=5e-5)
            assert (seeds, epochs, minutes) == ("0", "20 of 24", "27.3")  # 1,640.25 CPU-seconds
        assert lines["markov", "baseline", MISSING][0].startswith("1.0000 [")


def test_seeds_are_averaged_and_listed(dataset: SequenceDataset) -> None:
    training = StudyBuilder().evaluation().training
    pairs = [
        trained(dataset, "sasrec", "best", True, (10, 20)),
        trained(
            dataset, "sasrec", "best", True, (14, 20), seed=3, training=training | {"epochs": 24, "cpu_seconds": 59.75}
        ),
    ]
    study = gather_reproduction(StudyBuilder().manifest(), dataset, pairs, RESAMPLES)
    (line,) = [row for row in rows_of(section(study, "History masked")) if row[0] == "sasrec"]
    assert line[5:] == ["0 and 3", "20 and 24 of 24", "14.2"]  # (1,640.25 + 59.75) / 2 / 60
    assert study.row(label("sasrec", "best", True), UNMASKED, "hit@10").mean.value == pytest.approx(12 / USERS)
    (row,) = [row for row in study.results() if row["kind"] == "training"]
    assert (row["seeds"], row["epochs"], row["most_epochs"]) == ([0, 3], [20, 24], 24)


def test_verdicts_are_by_interval(study: Reproduction) -> None:
    """The paper's .340: 20 of 40 users are above ([.35, .65]), 14 level ([.2, .5]), 2 below ([0, .125])."""
    found = {
        (one.recipe.profile, one.recipe.repeat_term): one.verdict
        for one in study.judgements()
        if (one.recipe.model, one.metric) == ("2mamba4rec", "hit@10")
    }
    assert found == {("best", True): "above", ("best", False): "level", ("paper", False): "below"}
    text = section(study, "In short")
    assert f"**2mamba4rec** ({PAPER_TABLE}: 0.340 / 0.193), HIT@10 / NDCG@10 unmasked: " in text
    assert "`best` with the repeat term 0.5000 / 0.3155, **at or above** the row (above in HIT@10 and NDCG@10)" in text
    assert "`best` without the repeat term 0.3500 / 0.2208, **at or above** the row;" in text
    assert "`paper` without the repeat term 0.0500 / 0.0315, **below** the row in HIT@10 and NDCG@10." in text
    lines = [row for row in rows_of(section(study, "At or above the published figures")) if row[0] == "2mamba4rec"]
    assert [(row[1], row[4].split(":")[0], row[4].rpartition(" ")[2]) for row in lines] == [
        (PAPER_TABLE, verdict, "0.340") for verdict in ("above", "level", "below")
    ]  # by label: best with, best without, paper
    rows = [row for row in study.results() if row["kind"] == "published"]
    assert len(rows) == len(study.judgements()) == 3 * 2 + 2 * 2  # sasrec has two sources
    assert {(row["protocol"], row["event_order"], row["dataset"]) for row in rows} == {("unmasked", "recbole", "ml-1m")}


def test_a_warning_where_ties_decide_much(study: Reproduction) -> None:
    for share, warned in ((0.1, False), (0.45, True)):
        manifest = study.recommenders.manifest
        order = manifest["event_order"] | {"targets_in_ties": share}
        changed = replace(study, recommenders=replace(study.recommenders, manifest=manifest | {"event_order": order}))
        text = section(changed, "Before reading the numbers")
        assert ("45% of the test targets have the time of another event" in text) == warned


def test_a_published_figure_is_never_next_to_a_masked_number(study: Reproduction) -> None:
    """In the masked section stands no source and no printed figure; where sources stand, every number is unmasked."""
    masked = section(study, "History masked")
    for one in PUBLISHED:
        assert one.source not in masked
        cells = {cell for row in rows_of(masked) for cell in row}
        assert not cells & {one.hit_10, one.ndcg_10}
    ours = {f"{hits[1] / USERS:.4f}" for hits in HITS.values()}  # no unmasked number is equal to one of these
    assert all(number in masked for number in ours)
    for title in ("In short", "History unmasked, next to the published figures", "At or above the published figures"):
        text = section(study, title)
        assert not [number for number in ours - {"0.5000"} if number in text], title
        assert "unmasked" in text or "**unmasked**" in text
    assert "order of events" in section(study, "History unmasked, next to the published figures")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "ml-100k"}, "the data set is ml-100k: the published figures are of ml-1m"),
        (
            {"split": {"name": "global-time"}},
            "split by global-time: .* run prepare_data with --splitting leave-one-out",
        ),
        ({"event_order": {"name": "exact"}}, "the order of events is exact: .* --event-order recbole"),
        ({"event_order": {"name": "random-ties"}}, "the order of events is random-ties"),
    ],
)
def test_what_does_not_compare_is_refused(dataset: SequenceDataset, change: dict[str, Any], message: str) -> None:
    manifest = StudyBuilder().manifest()
    changed = {name: manifest[name] | value if isinstance(value, dict) else value for name, value in change.items()}
    with pytest.raises(InputError, match=message):
        gather_reproduction(manifest | changed, dataset, evaluated(dataset), 100)


def test_files_that_do_not_belong_together_are_refused(dataset: SequenceDataset) -> None:
    manifest, pairs = StudyBuilder().manifest(), evaluated(dataset)
    with pytest.raises(InputError, match=r"on validation targets; .* run evaluate with --split test"):
        gather_reproduction(manifest, dataset, [(replace(pairs[0][0], split="validation"), pairs[0][1])], 100)
    with pytest.raises(InputError, match="give ranks and evaluations in the same order"):
        gather_reproduction(manifest, dataset, [(pairs[0][0], pairs[1][1])], 100)
    with pytest.raises(InputError, match="two evaluations of 2mamba4rec, best, with the repeat term seed 0"):
        gather_reproduction(manifest, dataset, [pairs[0], pairs[0]], 100)
    with pytest.raises(InputError, match=r"has no model\.repeat_term in its recipe"):
        bare = replace(pairs[0][0], recipe={"model": {"max_length": 200}, "training": {"epochs": 3}})
        gather_reproduction(manifest, dataset, [(bare, pairs[0][1])], 100)
    with pytest.raises(InputError, match="no evaluation was given"):
        gather_reproduction(manifest, dataset, [], 100)


def test_training_on_validation_items_is_refused(dataset: SequenceDataset) -> None:
    """Another protocol than that of the published figures: by the stage, and before hours of training."""
    recipe = {"model": {"max_length": 200, "repeat_term": True}, "training": {"epochs": 24, "refit": True}}
    pair = trained(dataset, "sasrec", "best", True, (20, 22), recipe=recipe)
    with pytest.raises(InputError, match="sasrec seed 0 was trained on the validation items, too"):
        gather_reproduction(StudyBuilder().manifest(), dataset, [pair], 100)
    with pytest.raises(
        InputError, match=r"training\.refit is what this study sets; no published figure .* validation items: leave"
    ):
        Settings(overrides="model.dropout=0.1, training.refit=true").lists()


def test_other_counts_are_said_and_nothing_is_judged(dataset: SequenceDataset) -> None:
    """Nor does a published figure stand next to a number: of another filter, or of rows in another order."""
    manifest = StudyBuilder().manifest()
    counts = {"users": 6041, "items": 3707, "interactions": 1_000_209}
    shuffled = manifest["event_order"] | {"pairs_in_one_order": 0.65}
    for change, why in (({"event_order": shuffled}, "in another order"), ({"recbole_counts": counts}, "other counts")):
        study = gather_reproduction(manifest | change, dataset, evaluated(dataset), 100)
        table = section(study, "History unmasked, next to the published figures")
        assert not [one for one in PUBLISHED if f"| {one.hit_10} |" in table]
        assert "No published figure stands here" in table
        assert why in section(study, "Before reading the numbers")
        assert why in section(study, "At or above the published figures")
        assert study.judgements() == []
    assert study.judgements() == []
    assert "The data are not the paper's" in section(study, "Before reading the numbers")
    assert "not judged" in section(study, "In short")
    text = render_markdown(make_report(study))
    assert "at or above** the row" not in text


def test_page(study: Reproduction) -> None:
    report = make_report(study)
    page = render_html(report)
    assert page.count("<svg") == 2
    (hit, _) = [figure for one in report.sections for figure in one.figures]
    assert hit.columns == ("whose", "name", "hit@10", "low", "high")
    ours, theirs = ([row[1:3] for row in hit.rows if row[0] == whose] for whose in ("this run", "published"))
    assert dict(ours)["2mamba4rec, best, with the repeat term"] == pytest.approx(0.5)
    assert dict(theirs)[f"2mamba4rec, {PAPER_TABLE}"] == 0.340
    assert not re.findall(r"https?://(?!www\.w3\.org)", page)
    text = render_markdown(make_report(study))
    assert "nan" not in text
    assert "it asks for up to 200 epochs, and here had 2mamba4rec at most 24" in text
    assert "Fewer than three seeds" in text
    assert "Under-trained" not in text


def test_what_may_be_wrong_with_a_run_is_said(dataset: SequenceDataset) -> None:
    """Epochs that ran out while validation still rose, another copy of the data, a profile that is for trying out."""
    training = StudyBuilder().evaluation().training | {"stopped": "epochs", "epochs": 24, "best_epoch": 23}
    source = StudyBuilder().manifest()["sources"][0] | {"checksum": "accepted unverified"}
    pair = trained(dataset, "sasrec", "quick", True, (20, 22), training=training)
    study = gather_reproduction(StudyBuilder().manifest(sources=[source]), dataset, [pair], 100)
    text = section(study, "Before reading the numbers")
    assert "more epochs may give better numbers: sasrec, quick, with the repeat term." in text
    assert "a.zip has another checksum (md5 c4d9)" in text
    assert "Profile quick trains for minutes" in text
    assert "bounded by the time of a CPU" not in text


def test_published_figures_are_as_their_sources_print_them() -> None:
    """NDCG@10 is at most HIT@10; the paper's rows are those of its table, of the four recommenders."""
    for one in PUBLISHED:
        assert 0 < float(one.ndcg_10 or one.hit_10) <= float(one.hit_10) < 1
    table = {row.model: (row.hit_10, row.ndcg_10) for row in PAPER["ml-1m"].rows}
    for model in ("2mamba4rec", "hydra4rec", "mamba4rec", "sasrec"):
        (paper,) = [one for one in published_of(model) if one.source == PAPER_TABLE]
        assert (paper.hit_10, paper.ndcg_10) == table[model]
    assert len(published_of("mamba4rec")) == 5


def test_trainings_of_the_study() -> None:
    told = Settings(models=("sasrec",), seeds=(0, 1), paper_epochs=3, overrides="model.dropout=0.1")
    assert [(one["profile"], one["seed"], one["overrides"]) for one in told.lists()["trainings"]] == [
        ("best", 0, "training.crops=all,training.epochs=24,model.dropout=0.1,model.repeat_term=true"),
        ("best", 1, "training.crops=all,training.epochs=24,model.dropout=0.1,model.repeat_term=true"),
        ("best", 0, "training.crops=all,training.epochs=24,model.dropout=0.1,model.repeat_term=false"),
        ("best", 1, "training.crops=all,training.epochs=24,model.dropout=0.1,model.repeat_term=false"),
        ("paper", 0, "training.epochs=3,model.dropout=0.1,model.repeat_term=false"),
        ("paper", 1, "training.epochs=3,model.dropout=0.1,model.repeat_term=false"),
    ]
    (published,) = Settings(models=("sasrec",), profiles=("paper",), paper_epochs=0).lists()["trainings"]
    assert published["overrides"] == "training.epochs=200,model.repeat_term=false"
