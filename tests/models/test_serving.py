"""One event at a time gives the scores of the whole history; twice the same event changes nothing."""

import pytest
import torch

from ssm4rec.models.recommender import Recommender
from ssm4rec.models.repeat_term import cells_of
from ssm4rec.models.serving import RecurrentRecommender, ServingRecommender
from ssm4rec.models.table import MODELS
from ssm4rec.recipes.recommenders import recipe


def build(name: str, overrides: str = "", profile: str = "smoke") -> Recommender:
    torch.manual_seed(0)
    return recipe(name, profile, "long", overrides).model.build(40).eval()


NAMES = [name for name in MODELS if isinstance(build(name), ServingRecommender)]
RECURRENT = [name for name in MODELS if isinstance(build(name), RecurrentRecommender)]
LENGTHS = torch.tensor([3, 8, 1, 11])


def model_of(name: str, overrides: str = "", profile: str = "best") -> ServingRecommender:
    model = build(name, overrides, profile)
    assert isinstance(model, ServingRecommender)
    if model.repeat_term is not None:
        model.repeat_term.start.fill_(2.0)
    return model


def histories(steps: int) -> torch.Tensor:
    """Four users' items, more than any step of the tests reads."""
    return torch.randint(1, 41, (4, 11 + steps), generator=torch.Generator().manual_seed(1))


def first(items: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    longest = int(lengths.max())
    return torch.where(torch.arange(longest) < lengths[:, None], items[:, :longest], 0)


@pytest.mark.parametrize("overrides", ["", "model.max_length=10"])
@pytest.mark.parametrize("name", NAMES)
def test_steps_equal_the_whole_history_at_every_position(name: str, overrides: str) -> None:
    """With a maximum length of 10 SASRec's window starts to slide on the way, for one user at once."""
    model = model_of(name, overrides)
    items = histories(steps=9)
    window = model.max_length if name == "sasrec" else 99
    state = model.prefill(first(items, LENGTHS), LENGTHS)
    torch.testing.assert_close(model.score_state(state), whole(model, items, LENGTHS, window), rtol=0, atol=1e-5)
    for step in range(9):
        lengths = LENGTHS + step + 1
        state, scores = model.step(state, items[torch.arange(4), lengths - 1])
        torch.testing.assert_close(scores, whole(model, items, lengths, window), rtol=0, atol=1e-5)
        assert torch.equal(state.events, lengths)


def whole(model: ServingRecommender, items: torch.Tensor, lengths: torch.Tensor, window: int) -> torch.Tensor:
    scores = []
    for row, length in enumerate(lengths.tolist()):
        history = items[row : row + 1, :length]
        read = history[:, max(0, length - window) :]
        scores.append(model.score_next(read, torch.tensor([read.shape[1]]), cells_of(history, 40)))
    return torch.cat(scores)


@pytest.mark.parametrize("name", NAMES)
def test_an_event_delivered_twice_changes_nothing(name: str) -> None:
    model = model_of(name)
    items = histories(steps=2)
    state = model.prefill(first(items, LENGTHS), LENGTHS)
    numbers = LENGTHS + 1
    once, scores = model.step(state, items[torch.arange(4), LENGTHS], numbers)
    twice, again = model.step(once, items[torch.arange(4), LENGTHS], numbers)
    assert torch.equal(scores, again)
    assert all(torch.equal(one, other) for one, other in zip(once.tensors(), twice.tensors(), strict=True))
    # Two users repeat their last event, the others bring the next.
    mixed = torch.where(torch.tensor([True, False, True, False]), numbers, numbers + 1)
    after, scores = model.step(once, items[torch.arange(4), mixed - 1], mixed)
    torch.testing.assert_close(scores, whole(model, items, mixed, 200), rtol=0, atol=1e-5)
    assert torch.equal(after.events, mixed)


def test_a_missing_event_is_named() -> None:
    model = model_of("2mamba4rec", profile="smoke")
    state = model.prefill(torch.tensor([[1, 2], [3, 4]]), torch.tensor([2, 2]))
    with pytest.raises(ValueError, match="row 1: event 4 follows event 2: those between are missing"):
        model.step(state, torch.tensor([5, 6]), torch.tensor([3, 4]))


def closed_form(name: str, M: int) -> int:
    """Bytes of a user's state by the profile ``quick`` for long histories: width D 64, inner width 2 D, float32."""
    D, own = 64, 4 * 64 + 8 + 5  # the last hidden vector, the counter, and a bit for each of 40 items
    match name:
        case "sasrec":  # keys and values of 2 layers, and the items themselves
            return own + 2 * 2 * M * D * 4 + M * 8
        case "mamba4rec":  # 32 states a channel, 3 inputs of the convolution
            return own + (2 * D) * (32 + 3) * 4
        case "2mamba4rec":  # the same states; B and C (32 each) go through the convolution, too
            return own + (2 * D) * 32 * 4 + (2 * D + 2 * 32) * 3 * 4
        case _:  # LRURec: a complex number a channel, in 2 layers
            return own + 2 * (2 * D) * 2 * 4


@pytest.mark.parametrize("length", [50, 201, 1000])
@pytest.mark.parametrize("name", NAMES)
def test_a_state_is_as_large_as_its_closed_form(name: str, length: int) -> None:
    """SASRec's key-value cache grows with L, from which on it is the larger: the others' states do not."""
    model = model_of(name, f"model.max_length={length}", "quick")
    with torch.no_grad():
        state = model.prefill(torch.randint(1, 41, (1, length)), torch.tensor([length]))
    assert state.bytes_per_user() == closed_form(name, length)


@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_state_does_not_grow(name: str) -> None:
    model = model_of(name)
    short, long = (
        model.prefill(torch.randint(1, 41, (1, length)), torch.tensor([length])).bytes_per_user() for length in (2, 300)
    )
    assert short == long


def test_a_very_long_history_read_event_by_event_stays_what_it_is() -> None:
    """10,000 events in chunks of states, float32: no drift."""
    model = model_of("2mamba4rec")
    items = torch.randint(1, 41, (1, 10_000), generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        state = model.prefill(items[:, :9_990], torch.tensor([9_990]))
        for place in range(9_990, 10_000):
            state, scores = model.step(state, items[:, place])
        expected = model.score_next(items, torch.tensor([10_000]))
    assert torch.isfinite(scores).all()
    torch.testing.assert_close(scores, expected, rtol=0, atol=1e-5)
