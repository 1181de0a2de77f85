"""generation.json: written and read back, metrics with their standard errors, and no torch behind it."""

import dataclasses
import json

import numpy
import pytest
from scipy.stats import sem

from ssm4rec.artifacts.generations import GenerationSummary
from ssm4rec.llm.metric_rows import generation_rows
from ssm4rec.runtime.errors import InputError

RANKS = numpy.array([1, 4, 11, 2**31 - 1, 2**31 - 1])


def summary() -> GenerationSummary:
    return GenerationSummary(
        dataset="toy",
        fingerprint="ab",
        model="gpt4rec",
        seed=3,
        profile="smoke",
        split="test",
        source="scratch:gpt2",
        parameters=12,
        from_scratch=True,
        users=5,
        users_in_split=9,
        k1=0.9,
        b=0.5,
        queries=10,
        tokens_per_second=123.5,
        batch=5,
        device="cpu",
        rows=generation_rows("toy", "gpt4rec", 3, "test", RANKS),
    )


def test_metrics_and_their_standard_errors():
    rows = {row.metric: row for row in summary().rows}
    assert len(rows) == 3 * 3
    assert {row.protocol for row in rows.values()} == {"masked"}
    for cutoff, gains in ((5, [1, 1 / 4, 0, 0, 0]), (10, [1, 1 / 4, 0, 0, 0]), (20, [1, 1 / 4, 1 / 11, 0, 0])):
        row = rows[f"mrr@{cutoff}"]
        assert row.value == pytest.approx(sum(gains) / 5)
        assert row.standard_error == pytest.approx(sem(gains))
    assert rows["hit@20"].value == 3 / 5
    assert rows["ndcg@10"].value == pytest.approx((1 + 1 / numpy.log2(5)) / 5)


def test_a_single_user_has_no_standard_error(tmp_path):
    rows = generation_rows("toy", "gpt4rec", 3, "test", RANKS[:1])
    assert rows[0].standard_error is None
    assert rows[0].shown == "1.0000"
    one = dataclasses.replace(summary(), users=1, rows=rows)
    one.write(tmp_path / "generation.json")
    assert GenerationSummary.read(tmp_path / "generation.json") == one


def test_written_and_read_back(tmp_path):
    summary().write(tmp_path / "generation.json")
    assert GenerationSummary.read(tmp_path / "generation.json") == summary()


@pytest.mark.parametrize("document", [{}, {"rows": []}, {"rows": [{"metric": "hit@5"}]}, []])
def test_other_documents_are_refused(document, tmp_path):
    (tmp_path / "other.json").write_text(json.dumps(document))
    with pytest.raises(InputError, match=r"other.json: not the generation.json of an evaluated generator"):
        GenerationSummary.read(tmp_path / "other.json")
