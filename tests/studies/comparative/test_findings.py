"""The sentences that depend on the numbers."""

import dataclasses

import pytest

from ssm4rec.report.findings import comparability, event_order
from ssm4rec.report.paper import PAPER
from ssm4rec.studies.comparative import findings


def trained(builder, **training):
    return builder.evaluation().training | training


@pytest.mark.parametrize(
    ("training", "named"),
    [
        ({"stopped": "epochs", "best_epoch": 20}, True),
        ({"stopped": "epochs", "best_epoch": 19}, True),
        ({"stopped": "epochs", "best_epoch": 18}, False),
        ({"stopped": "patience", "best_epoch": 20}, False),
    ],
)
def test_a_training_whose_epochs_ran_out_is_named(builder, training, named):
    text = findings.cautions(builder.study(builder.evaluation(training=trained(builder, **training))))
    assert ("Under-trained: sasrec." in text) == named


@pytest.mark.parametrize(("profile", "words"), [("smoke", "say nothing about the models"), ("quick", "under-trained")])
def test_a_small_profile_is_a_caution(builder, profile, words):
    text = findings.cautions(builder.study(builder.evaluation(profile=profile)))
    assert f"Profile {profile} (sasrec)" in text
    assert words in text


def test_training_on_validation_items_is_a_caution(builder):
    made = builder.evaluation()
    recipe = {**made.recipe, "training": {**made.recipe["training"], "refit": True}}
    refitted = dataclasses.replace(made, recipe=recipe)
    text = findings.cautions(builder.study(refitted, builder.evaluation("2mamba4rec")))
    assert "(`training.refit`): sasrec. That is another protocol" in text
    assert "training.refit" not in findings.cautions(builder.study(made))


def test_few_seeds_are_a_caution_and_three_are_not(builder):
    few = [builder.evaluation(seed=seed) for seed in (0, 1)]
    many = [builder.evaluation("2mamba4rec", seed=seed) for seed in (0, 1, 2)]
    text = findings.cautions(builder.study(*few, *many))
    assert "say nothing about the spread between seeds: sasrec (2)." in text
    assert "2mamba4rec" not in text
    assert "at least three seeds" in findings.cautions(builder.study(*many))


def test_data_of_an_unknown_checksum_are_a_caution(builder):
    source = builder.manifest()["sources"][0]
    for checksum, warned in (("verified", False), ("none published", False), ("accepted unverified", True)):
        study = builder.study(builder.evaluation(), sources=[source | {"checksum": checksum}])
        assert ("a.zip has another checksum (md5 c4d9)" in findings.cautions(study)) == warned


def test_an_order_on_which_much_hangs_is_a_caution(builder):
    order = builder.manifest()["event_order"]
    for share, warned in ((0.1, False), (0.45, True)):
        study = builder.study(builder.evaluation(), event_order=order | {"name": "exact", "targets_in_ties": share})
        assert ("45% of the test targets have the time of another event" in findings.cautions(study)) == warned


def test_masked_numbers_of_targets_that_repeat_are_a_caution(builder):
    order = builder.manifest()["event_order"]
    for share, warned in ((0.1, False), (0.97, True)):
        study = builder.study(builder.evaluation(), event_order=order | {"targets_that_repeat": share})
        assert ("97% of the test targets are an item that their user had before" in findings.cautions(study)) == warned


def test_few_users_are_a_caution(builder):
    assert findings.few_users(30) == []
    text = findings.cautions(builder.study(builder.evaluation(users=2, targets=341)))
    assert "2 users have test targets: intervals and tests draw whole users" in text
    assert "draw whole users" not in findings.cautions(builder.study(builder.evaluation()))


def test_what_hangs_on_the_order_is_said(builder):
    text = event_order(builder.manifest()["event_order"])
    assert "Order `recbole`" in text
    assert "70.0% of the events next to each other tie" in text
    assert "90.0% have them in the same order: 50% is chance" in text
    alone = event_order(builder.manifest()["event_order"] | {"pairs_in_one_order": None})
    assert "in the same order" not in alone


def test_what_global_time_cuts_and_tests_is_said():
    split = {"validation_from": -86_400_000, "test_from": 60_000}
    for target, words in (("successive", "half the window"), ("first", "their first event"), ("random", "at random")):
        text = findings.time_split(split | {"time_target": target})
        assert "Training ends before 1969-12-31 00:00 UTC, the test begins at 1970-01-01 00:01 UTC." in text
        assert words in text


def test_other_data_or_another_split_than_the_papers_is_said(builder):
    paper = PAPER["ml-1m"]
    evaluation = builder.evaluation()
    assert comparability(builder.study(evaluation), paper) == "The data have the counts of the paper's Table 4."
    other = {"users": 6041, "items": 3000, "interactions": 999_611}
    assert "3,000 items here, 3,417 there" in comparability(builder.study(evaluation, recbole_counts=other), paper)
    assert "split global-time" in comparability(
        builder.study(builder.evaluation(by_time=True), split={"name": "global-time"}), paper
    )
    assert "validation targets" in comparability(builder.study(builder.evaluation(split="validation")), paper)


def test_trainings_without_a_history_are_named(builder):
    study = builder.study(builder.evaluation())
    assert findings.missing_curves(study) == "No learning curve was given of sasrec seed 0."


def test_a_draw_of_users_is_a_caution(builder):
    counts = [{"users": users, "items": 50, "interactions": 9000} for users in (61_000, 1000)]
    drawn = {"filter": "draw-users", "setting": "1000", "before": counts[0], "after": counts[1]}
    text = findings.cautions(builder.study(builder.evaluation(), filters=[drawn]))
    assert "1,000 of 61,000 users were drawn by chance (DRAW_USERS)" in text
    assert "drawn by chance" not in findings.cautions(builder.study(builder.evaluation()))
    everybody = drawn | {"after": counts[0]}
    assert "drawn by chance" not in findings.cautions(builder.study(builder.evaluation(), filters=[everybody]))


def test_the_usual_protocol_of_own_data_is_not_the_papers(builder, builder_of):
    def said(made):
        one = made.evaluation()
        refitted = dataclasses.replace(
            one, recipe={**one.recipe, "training": {**one.recipe["training"], "refit": True}}
        )
        return findings.cautions(made.study(refitted))

    assert "the usual one, the paper's and RecBole's" in said(builder)
    assert "the usual one, RecBole's: their" in said(builder_of("own-shop"))
