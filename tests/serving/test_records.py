"""A record is the same after it was bytes, with the state of every model that has one."""

import numpy
import pytest
import torch

from ssm4rec.models.serving import RecurrentRecommender
from ssm4rec.models.table import MODELS, config_class
from ssm4rec.serving.history import History
from ssm4rec.serving.reading import read_histories, read_more
from ssm4rec.serving.records import DamagedRecordError, Record, record_from_bytes
from tests.serving.serving_models import make_recommender

RECURRENT = [name for name in MODELS if config_class(name).causal and name != "sasrec"]


@pytest.mark.parametrize("name", RECURRENT)
def test_round_trip(name: str) -> None:
    model = make_recommender(name).model
    assert isinstance(model, RecurrentRecommender)
    histories = [numpy.array(items, dtype=numpy.int32) for items in ([3, 7, 7, 30, 1], [2], [9, 8])]
    more = [numpy.array(items, dtype=numpy.int32) for items in ([4], [5, 6, 7], [1, 1])]
    with torch.no_grad():
        records = [
            Record(History(5, ("a", "ü"), ("\x00",)), "model 1", state) for state in read_histories(model, histories)
        ]
        found = [record_from_bytes(record.to_bytes()) for record in records]
        after, wanted = (read_more(model, [one.state for one in these], more) for these in (found, records))
        whole = read_histories(model, [numpy.concatenate(pair) for pair in zip(histories, more, strict=True)])
    for one, other in zip(found, records, strict=True):
        assert (one.history, one.owner) == (other.history, other.owner)
        assert all(torch.equal(*pair) for pair in zip(one.state, other.state, strict=True))
    for states in zip(after, wanted, whole, strict=True):
        for got, same, near in zip(*states, strict=True):
            assert torch.equal(got, same)
            torch.testing.assert_close(got, near, rtol=0, atol=1e-5)


def test_without_a_state() -> None:
    record = Record(History(1, ("a",)), "o", ())
    assert record_from_bytes(record.to_bytes()) == record
    with pytest.raises(DamagedRecordError):
        record_from_bytes(record.to_bytes()[:20])
