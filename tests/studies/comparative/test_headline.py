"""The head of the report: what is best, how sure that is, what is served, what the run cannot say."""

import dataclasses
from dataclasses import replace

import pytest

from ssm4rec.artifacts.names import BASELINES
from ssm4rec.report.document import Section
from ssm4rec.studies.comparative.headline import headline_section
from ssm4rec.studies.comparative.study import Study
from tests.report.measured_study import comparison
from tests.report.trained import StudyBuilder


def head(study: Study) -> Section:
    return headline_section(study, [])


def bullets_of(study: Study) -> list[str]:
    return [line for line in head(study).markdown.splitlines() if line.startswith("- ")]


def test_names_the_best_in_each_protocol_next_to_most_popular(builder: StudyBuilder) -> None:
    study = builder.study(builder.evaluation(value=0.2), builder.evaluation("2mamba4rec", value=0.3))
    text = head(study).markdown
    assert "trained 2mamba4rec (seed 0) and sasrec (seed 0) on the data set ml-1m with the profile best." in text
    assert "6,040 users" in text
    assert "3,416 items" in text
    unmasked, masked = bullets_of(study)[:2]
    assert "**2mamba4rec** with HIT@10 0.3000, NDCG@10 0.3000, MRR@10 0.3000" in unmasked
    assert "most-popular has HIT@10 0.0300" in unmasked
    assert "**2mamba4rec** with HIT@10 0.4000" in masked
    assert "most-popular has HIT@10 0.0400" in masked


def test_says_how_sure_the_best_is(builder: StudyBuilder) -> None:
    evaluations = [builder.evaluation("sasrec", value=0.10), builder.evaluation("mamba4rec", value=0.12)]
    study = replace(builder.study(*evaluations), comparison=comparison())
    assert "Its lead over the next, sasrec: significant, NDCG@10 +0.0200 [+0.0100, +0.0300]" in bullets_of(study)[0]
    assert "would find with a chance of 80%" in head(study).markdown
    unsure = replace(study, comparison=comparison(p_holm=0.2))
    assert "Its lead over the next, sasrec: not significant (MDE 0.0140), NDCG@10 +0.0200" in bullets_of(unsure)[0]


@pytest.mark.parametrize(
    ("having", "said"),
    [
        ((), "None of them has a repeat term"),
        (("sasrec",), "sasrec has a repeat term"),
        (("sasrec", "hydra4rec"), "All have a repeat term"),
    ],
)
def test_names_the_models_with_a_repeat_term(builder: StudyBuilder, having: tuple[str, ...], said: str) -> None:
    evaluations = []
    for model in ("sasrec", "hydra4rec"):
        made = builder.evaluation(model)
        recipe = {**made.recipe, "model": {**made.recipe["model"], "repeat_term": model in having}}
        evaluations.append(dataclasses.replace(made, recipe=recipe))
    assert said in head(builder.study(*evaluations)).markdown


@pytest.mark.parametrize("has", [True, False])
def test_of_one_model_it_says_whether_it_has_a_repeat_term(builder: StudyBuilder, has: bool) -> None:
    made = builder.evaluation()
    recipe = {**made.recipe, "model": {**made.recipe["model"], "repeat_term": has}}
    text = head(builder.study(dataclasses.replace(made, recipe=recipe))).markdown
    assert (" sasrec has a repeat term: " if has else " sasrec has no repeat term, ") in text


def test_names_what_does_not_beat_the_best_baseline(builder: StudyBuilder) -> None:
    study = builder.study(
        builder.evaluation(value=0.01, baseline=(0.02, 0.03)),
        builder.evaluation("lrurec", value=0.3, baseline=(0.02, 0.03)),
    )
    unmasked, masked = bullets_of(study)[:2]
    assert "By NDCG@10, sasrec does **not** beat the best baseline, most-popular (0.0200)." in unmasked
    assert "By NDCG@10, every model beats the best baseline, markov (0.0380)." in masked  # 0.01 + 0.1 > 0.038


def test_champion_is_the_best_by_validation(builder: StudyBuilder) -> None:
    made = builder.evaluation("sasrec", value=0.1)
    validated = replace(made, training={**made.training, "validation_ndcg@10": 0.9})
    line = bullets_of(builder.study(validated, builder.evaluation("mamba4rec", value=0.3)))[2]
    assert line.startswith("- **To be served**: **sasrec seed 0**, the best by validation NDCG@10 (0.9000")
    assert "registered in MLflow as ssm4rec-ml-1m." in line
    assert "`mlflow models serve -m models:/ssm4rec-ml-1m@champion --env-manager local -p 5001`" in line


def test_smoke_never_becomes_the_champion_and_says_nothing(builder: StudyBuilder) -> None:
    *_, champion, unsaid = bullets_of(builder.study(builder.evaluation(profile="smoke")))
    assert "profile smoke never becomes the champion" in champion
    assert "cannot say** anything about the models: profile smoke trains for seconds" in unsaid
    *_, unsaid = bullets_of(builder.study(builder.evaluation(profile="quick")))
    assert "cannot say** what the models reach when they are tuned and trained longer" in unsaid


def test_three_seeds_that_were_compared_leave_nothing_unsaid(builder: StudyBuilder) -> None:
    seeds = [builder.evaluation("sasrec", seed) for seed in range(3)]
    assert "cannot say" not in head(replace(builder.study(*seeds), comparison=comparison())).markdown
    assert "A ± is the standard deviation over seeds." in head(builder.study(*seeds)).markdown
    alone = head(builder.study(*seeds[:1])).markdown
    assert "nor how sure the differences are" in alone
    assert "±" not in alone


def test_picture_shows_every_model_and_baseline_in_both_protocols(builder: StudyBuilder) -> None:
    study = replace(
        builder.study(builder.evaluation("sasrec"), builder.evaluation("mamba4rec")), comparison=comparison()
    )
    (figure,) = head(study).figures
    shown = {(name, protocol) for name, protocol, *_ in figure.rows}
    assert shown == {(n, p) for n in ("sasrec", "mamba4rec", *BASELINES) for p in ("unmasked", "masked")}
    assert all(low < value < high for *_, value, low, high in figure.rows)
