"""Files that do not belong together are refused; the flat list of results holds each number once."""

import dataclasses

import pytest

from ssm4rec.report.recommenders import gather_recommenders
from ssm4rec.runtime.errors import InputError


def refusal(manifest, evaluations, curves=()):
    with pytest.raises(InputError) as caught:
        gather_recommenders(manifest, evaluations, curves)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_no_evaluation(builder):
    assert "no evaluation" in refusal(builder.manifest(), [])


def test_an_evaluation_of_other_data_names_both(builder):
    message = refusal(builder.manifest(), [builder.evaluation(fingerprint="feedfeedfeedfeed")])
    assert "feedfeedfeed" in message
    assert "0123456789ab" in message


def test_the_same_evaluation_twice(builder):
    assert "two evaluations of sasrec seed 0 on test" in refusal(
        builder.manifest(), [builder.evaluation(), builder.evaluation()]
    )


def test_seeds_with_different_settings(builder):
    message = refusal(builder.manifest(), [builder.evaluation(), builder.evaluation(seed=1, profile="quick")])
    assert "best and quick" in message
    assert "different settings" in refusal(
        builder.manifest(), [builder.evaluation(), builder.evaluation(seed=1, recipe={"model": {"d_model": 32}})]
    )


def test_a_seed_without_the_split_of_the_others(builder):
    message = refusal(builder.manifest(), [builder.evaluation(), builder.evaluation(seed=1, split="validation")])
    assert "no evaluation of sasrec seed 0 on validation" in message


def test_a_missing_metric(builder):
    whole = builder.evaluation()
    rows = tuple(row for row in whole.rows if (row.metric, row.protocol) != ("ndcg@10", "masked"))
    assert "has no ndcg@10 of sasrec" in refusal(builder.manifest(), [dataclasses.replace(whole, rows=rows)])


def test_an_evaluation_from_before_the_baselines(builder):
    whole = builder.evaluation()
    rows = tuple(row for row in whole.rows if row.model in ("sasrec", "most-popular"))
    message = refusal(builder.manifest(), [dataclasses.replace(whole, rows=rows)])
    assert message == (
        "the evaluation of sasrec seed 0 has no hit@5 of most-recent with the history unmasked; run evaluate again"
    )


def test_a_training_of_before_devices_were_named(builder):
    assert "has no 'device'; run evaluate again" in refusal(builder.manifest(), [builder.evaluation(training={})])


def test_baselines_that_disagree(builder):
    message = refusal(builder.manifest(), [builder.evaluation(), builder.evaluation(seed=1, baseline=(0.03, 0.05))])
    assert "most-popular" in message
    assert "0.05" in message


def test_curves_nobody_evaluated_or_twice(builder):
    manifest, evaluations = builder.manifest(), [builder.evaluation()]
    assert "sasrec seed 7" in refusal(manifest, evaluations, [builder.curve(seed=7)])
    assert "two learning curves of sasrec seed 0" in refusal(manifest, evaluations, [builder.curve(), builder.curve()])


def test_results_hold_each_number_once_and_sorted(builder):
    evaluations = [
        builder.evaluation(model, seed, split=split)
        for model in ("sasrec", "2mamba4rec")
        for seed in (10, 2)
        for split in ("test", "validation")
    ]
    rows = builder.study(*evaluations).results_document()
    # (2 models x 2 seeds + 4 baselines) x 2 splits x 2 protocols x 3 metrics x 3 cutoffs, and each training's cost
    assert len(rows) == (2 * 2 + 4) * 2 * 2 * 3 * 3 + 2 * 2
    assert list(rows[0]) == ["dataset", "model", "seed", "split", "protocol", "metric", "value", "splitting"]
    assert list(dict.fromkeys((row["model"], row["seed"]) for row in rows)) == [
        ("2mamba4rec", 2),
        ("2mamba4rec", 10),
        ("markov", None),
        ("most-frequent", None),
        ("most-popular", None),
        ("most-recent", None),
        ("sasrec", 2),
        ("sasrec", 10),
    ]
    assert rows == builder.study(*reversed(evaluations)).results_document()
