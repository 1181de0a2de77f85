"""The repeat term: its start in closed form, scores with it, and that every way to score agrees."""

import math

import pytest
import torch
from torch.nn import functional

from ssm4rec.models.recommender import Recommender
from ssm4rec.models.repeat_term import RepeatTerm, cells_of
from ssm4rec.recipes.recommenders import recipe

NAMES = ["sasrec", "mamba4rec", "2mamba4rec", "hydra4rec", "lrurec"]


def model_of(name: str, weight: float) -> Recommender:
    torch.manual_seed(0)
    model = recipe(name, "smoke", "long").model.build(12).double().eval()
    assert model.repeat_term is not None
    model.repeat_term.start.fill_(weight)
    return model


@pytest.mark.parametrize(("repeated", "others"), [(9, 980), (0, 980), (799, 20)])
def test_the_start_gives_repeats_their_share_of_the_softmax(repeated: int, others: int) -> None:
    """Of 1,000 items 20 were had; of 998 + 2 targets a hundredth, a thousandth, or four fifths repeat.

    A few get that share of the softmax while all scores are equal, most of them among as many others as were had.
    """
    term = RepeatTerm()
    term.start_from(targets=998, repeated=repeated, items_had=20, item_count=1000)
    scores = torch.zeros(1, 20 + others)
    share = functional.softmax(term.add(scores, torch.arange(20)), dim=1)[0, :20].sum().item()
    assert share == pytest.approx((repeated + 1) / 1000, rel=1e-5)  # float32


@pytest.mark.parametrize("repeated", [40, 299, 499])
def test_the_start_is_0_where_it_depends_on_the_scores(repeated: int) -> None:
    """Of equal scores the history would need a w above 0, among as many others as were had one below."""
    term = RepeatTerm()
    term.start_from(targets=998, repeated=repeated, items_had=20, item_count=1000)
    assert term().item() == 0


@pytest.mark.parametrize(("start", "change", "added"), [(0, -0.1, -1), (0, 0.1, 0), (2, 0.1, 3), (-2, 0.3, 1)])
def test_from_a_start_of_0_ranking_is_with_what_lowers_the_history_alone(
    start: float, change: float, added: float
) -> None:
    term = RepeatTerm()
    term.start.fill_(start)
    torch.nn.init.constant_(term.change, change)
    assert term().item() == pytest.approx(start + 10 * change)
    assert term.add(torch.zeros(1, 2), torch.tensor([1])).tolist() == [[0, pytest.approx(added)]]
    assert term.undecided == (start == 0 and change > 0)
    term.load_state_dict(term.settled())
    assert term.add(torch.zeros(1, 2), torch.tensor([1])).tolist() == [[0, pytest.approx(start + 10 * change)]]


def test_the_start_is_finite_where_nothing_or_everything_repeats() -> None:
    term = RepeatTerm()
    for repeated, sign in ((0, -1), (1_000_000, 1)):
        term.start_from(1_000_000, repeated, items_had=1, item_count=1)
        assert math.copysign(1, term().item()) == sign
        assert 10 < abs(term().item()) < 20


def test_an_item_that_was_had_twice_gets_the_term_once() -> None:
    model = model_of("sasrec", 3.0)
    items = torch.tensor([[4, 7, 4], [2, 0, 0]])
    lengths = torch.tensor([3, 1])
    scores = model.score_next(items, lengths)
    model.repeat_term = None
    expected = model.score_next(items, lengths)
    expected[0, [3, 6]] += 3.0
    expected[1, 1] += 3.0
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_whole_histories_count_however_little_of_them_is_read(name: str) -> None:
    model = model_of(name, -50.0)
    read, whole = torch.tensor([[5, 6]]), torch.tensor([[1, 2, 3, 5, 6]])
    scores = model.score_next(read, torch.tensor([2]), cells_of(whole, 12))
    assert (scores[0] < -40).nonzero()[:, 0].tolist() == [0, 1, 2, 4, 5]


@pytest.mark.parametrize("name", NAMES)
def test_the_published_recipes_have_none(name: str) -> None:
    for profile, expected in (("paper", False), ("best", True), ("quick", True), ("smoke", True)):
        assert recipe(name, profile, "long").model.repeat_term is expected
    model = recipe(name, "paper", "long").model.build(12)
    assert not [key for key in model.state_dict() if "repeat" in key]
