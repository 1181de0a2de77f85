"""ORPO of the ranker whose tokens are items: the paper's numbers written out, and that pairs are learned."""

import math

import numpy
import pytest
import torch

from ssm4rec.artifacts.curve import HELD_OUT, TRAIN
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.preferences import Pairs
from ssm4rec.llm.alignment import AlignmentTask, align
from ssm4rec.llm.item_finetuning import Part, collate, next_item_loss
from ssm4rec.llm.item_ranker import ItemPrompts, ItemRanker
from ssm4rec.llm.orpo import IGNORED
from ssm4rec.llm.preference_examples import PreferenceExample, PreferenceSet, preference_set
from ssm4rec.llm.settings import AlignmentSettings, StepSettings
from ssm4rec.runtime.errors import InputError
from tests.llm.test_item_model import ITEMS, SETTINGS, item_model

BETA = 0.5


def aligned(train, held_out, folder, rate, batch=1, winners_alone=False, model=None):
    steps = StepSettings(batch=batch, learning_rate=rate, warmup=0, optimizer="adamw_torch")
    settings = AlignmentSettings(beta=BETA, evaluations=1, steps=steps)
    task = AlignmentTask(PreferenceSet(train, held_out), settings, 1, winners_alone)
    return align(ItemRanker(model or item_model(), SETTINGS), task, folder, lambda point: None)


def by_hand(example):
    """Return NLL and log odds ratio, equations 2 to 4, of a softmax over what can be answered, in float64."""
    with torch.no_grad():
        logits = item_model()(input_ids=torch.tensor([example.prompt])).logits[0, -1].double()
    possible = [token for token in range(ITEMS + 1) if token not in example.impossible]
    chances = dict(zip(possible, torch.softmax(logits[possible], dim=0).tolist(), strict=True))
    won, lost = (chances[answer[0]] for answer in (example.chosen, example.rejected))
    return -math.log(won), math.log(won / (1 - won)) - math.log(lost / (1 - lost))


def test_the_numbers_are_the_papers(tmp_path):
    example = PreferenceExample([0, 3, 4, 5], [6], [20], impossible=[0, 3, 4, 5, 17])
    other = PreferenceExample([0, 9, 1], [2], [30], impossible=[0, 1, 9])
    alignment = aligned([example], [other], tmp_path, rate=1e-6)
    (first, *_), (step,) = (
        [point.values for point in alignment.points if point.split == split] for split in (HELD_OUT, TRAIN)
    )
    for found, pair in ((first, other), (step, example)):
        nll, ratio = by_hand(pair)
        loss = nll + BETA * math.log(1 + math.exp(-ratio))
        assert found["nll"] == pytest.approx(nll, rel=1e-4)
        assert found["log_odds_ratio"] == pytest.approx(ratio, rel=1e-4)
        assert found["loss"] == pytest.approx(loss, rel=1e-4)


def test_probabilities_are_those_of_fine_tuning(write_dataset):
    """The winner's, over what can follow the user's whole history: not over the part of it that the prompt shows."""
    repeated = [3, 9, 4, 8, 3, 7, 1, 2]  # the winner, 3, is of the history
    folder = write_dataset([[5, 6, 7, 8, 9, 1, 2, 3], repeated, [*range(1, ITEMS + 1)]])
    dataset = read_sequences(folder)
    users, winners, losers, lengths = (numpy.array(row, numpy.int32) for row in ([0, 1], [1, 3], [30, 29], [5, 4]))
    nothing = numpy.full(2, numpy.nan, numpy.float32)
    pairs = Pairs(users, winners, losers, lengths, numpy.full(2, "lightfm"), *[nothing] * 4)
    shown = 3
    found = preference_set(dataset, pairs, ItemPrompts(shown), AlignmentSettings(held_out=0.5), seed=0)
    examples = sorted([*found.train, *found.held_out], key=lambda example: example.chosen)
    assert [example.impossible for example in examples] == [[0, 5, 6, 7, 8, 9], [0, 4, 8, 9]]
    assert [example.prompt for example in examples] == [[0, 7, 8, 9], [0, 9, 4, 8]]
    for example, user, length in zip(examples, users.tolist(), lengths.tolist(), strict=True):
        part = Part(user, length - shown, length + 1)
        batch = collate(dataset, [part])
        batch["labels"][0, :-1] = IGNORED
        with torch.no_grad():
            learned = next_item_loss(item_model(), batch).item()
        assert by_hand(example)[0] == pytest.approx(learned, rel=1e-4)


def test_a_pair_lost_by_an_item_of_the_history_is_left_out(write_dataset):
    """A ranker of items gives it no probability, and the winner's must not depend on who loses."""
    history = [3, 9, 4, 8, 3, 7]
    dataset = read_sequences(write_dataset([[*history, 1, 2]] * 3))
    users, lengths = numpy.arange(3, dtype=numpy.int32), numpy.full(3, 4, numpy.int32)
    nothing = numpy.full(3, numpy.nan, numpy.float32)

    def examples(losers):
        losers = numpy.array(losers, numpy.int32)
        pairs = Pairs(users, users * 0 + 7, losers, lengths, numpy.full(3, "ratings"), *[nothing] * 4)
        return preference_set(dataset, pairs, ItemPrompts(8), AlignmentSettings(held_out=0.4), seed=0)

    found = examples([3, 30, 29])
    assert found.left_out == 1
    written = [*found.train, *found.held_out]
    assert sorted(example.rejected for example in written) == [[29], [30]]
    assert all(example.impossible == [0, 3, 4, 8, 9] for example in written)
    with pytest.raises(InputError, match="one user alone, or none"):
        examples([3, 9, 29])


def test_it_learns_to_prefer(tmp_path):
    """Whatever the history, item 7 is preferred to items 20 to 29."""
    random = torch.Generator().manual_seed(0)
    made = []
    for number in range(40):
        length = int(torch.randint(1, 9, (1,), generator=random))
        history = torch.randint(1, 20, (length,), generator=random).tolist()
        made.append(PreferenceExample([0, *history], [7], [20 + number % 10]))
    alignment = aligned(made[:32], made[32:], tmp_path, rate=1e-2, batch=4)
    first, *_, last = (point.values for point in alignment.points if point.split == HELD_OUT)
    assert last["log_odds_ratio"] > first["log_odds_ratio"] + 1
    assert last["nll"] < first["nll"]
    assert last["accuracy"] > first["accuracy"]
    assert alignment.tokens == sum(len(example.prompt) for example in made[:32])


def test_on_the_winners_alone_the_losers_change_no_weight(tmp_path):
    """A step is AdamW's on -log P(y_w|x), written here by hand; what is measured of the losers stays measured."""
    example, held_out = PreferenceExample([0, 3, 4], [6], [20], [0, 3, 4]), [PreferenceExample([0, 9], [2], [30])]
    control, by_hand_model = item_model(), item_model()
    alignment = aligned([example], held_out, tmp_path / "control", rate=1e-2, winners_alone=True, model=control)
    for point in alignment.points:
        assert point.values["loss"] == point.values["nll"]
    first = alignment.points[0].values
    nll, ratio = by_hand(held_out[0])
    assert (first["nll"], first["log_odds_ratio"]) == (pytest.approx(nll, rel=1e-4), pytest.approx(ratio, rel=1e-4))
    assert first["accuracy"] == float(ratio > 0)

    logits = by_hand_model(input_ids=torch.tensor([example.prompt])).logits[0, -1]
    logits[example.impossible] = -torch.inf
    (-torch.log_softmax(logits, dim=0)[6]).backward()
    trained = [weight for weight in by_hand_model.parameters() if weight.grad is not None]
    torch.nn.utils.clip_grad_norm_(trained, 1.0)
    torch.optim.AdamW(trained, lr=1e-2, weight_decay=0.0).step()
    expected = by_hand_model.state_dict()
    for name, weight in control.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-4, atol=1e-5)

    with_losers, other = item_model(), item_model()
    aligned([example], held_out, tmp_path / "orpo", rate=1e-2, model=with_losers)
    other_loser = PreferenceExample(example.prompt, example.chosen, [25], example.impossible)
    aligned([other_loser], held_out, tmp_path / "other", rate=1e-2, winners_alone=True, model=other)
    moved = {name for name, weight in control.state_dict().items() if not torch.equal(weight, other.state_dict()[name])}
    assert not moved
    assert any(not torch.equal(weight, with_losers.state_dict()[name]) for name, weight in control.state_dict().items())
