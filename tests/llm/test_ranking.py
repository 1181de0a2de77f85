"""The verbalizer: the same logits as one plain forward pass a prompt, whatever shares a batch or a prefix."""

from dataclasses import replace

import numpy
import pytest
import torch

from ssm4rec.artifacts.candidates import Candidates
from ssm4rec.artifacts.dataset import read_sequences
from ssm4rec.artifacts.rankings import RETRIEVER_ORDER, SHUFFLED_ORDER
from ssm4rec.llm import ranking
from ssm4rec.llm.candidates import ranking_task
from ssm4rec.llm.ranking import answer_logits, ranks_of_target
from ssm4rec.runtime.errors import InputError
from tests.language_models import tiny_model


@pytest.fixture(scope="module")
def llama():
    return tiny_model("llama", 300)


def random_users(orders, instruction=0):
    """Eleven users whose prompts begin alike in each order and end otherwise, all of different lengths."""
    random = numpy.random.default_rng(0)
    common = random.integers(2, 300, instruction).tolist()
    users = []
    for _ in range(11):
        head = common + random.integers(2, 300, random.integers(3, 60)).tolist()
        users.append([head + random.integers(2, 300, random.integers(2, 40)).tolist() for _ in range(orders)])
    return users


@pytest.mark.parametrize("orders", [1, 2, 3])
@pytest.mark.parametrize("budget", [1, 150, 10_000])
@pytest.mark.parametrize("instruction", [0, 17])
def test_equals_a_plain_forward_pass(llama, monkeypatch, orders, budget, instruction):
    monkeypatch.setitem(ranking.TOKENS_PER_BATCH, "cpu", budget)
    users, letters, seen = random_users(orders, instruction), [5, 9, 250], []
    found = answer_logits(llama, users, numpy.array(letters), seen.append)
    assert found.shape == (11, orders, 3)
    assert sum(seen) == 11
    for user, prompts in enumerate(users):
        for order, prompt in enumerate(prompts):
            with torch.no_grad():
                plain = llama(input_ids=torch.tensor([prompt])).logits[0, -1, letters]
            numpy.testing.assert_allclose(found[user, order], plain.numpy(), atol=1e-4)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_scores_that_are_no_numbers_are_refused(wrong):
    """A target of NaN has no rival above it: it would rank first, and a broken model would look perfect."""
    broken = tiny_model("llama", 300)
    with torch.no_grad():
        broken.lm_head.weight[9] = wrong
    with pytest.raises(InputError, match="scores are NaN or infinite: its files are damaged, or its training diverged"):
        answer_logits(broken, random_users(1), numpy.array([5, 9, 250]), lambda _: None)


def test_a_prompt_that_is_the_beginning_of_another(llama):
    users = [[[5, 6, 7], [5, 6, 7, 8]], [[9, 8], [9, 8]]]
    found = answer_logits(llama, users, numpy.array([4]), lambda _: None)
    with torch.no_grad():
        plain = [[llama(input_ids=torch.tensor([prompt])).logits[0, -1, 4].item() for prompt in user] for user in users]
    numpy.testing.assert_allclose(found[:, :, 0], plain, atol=1e-4)


def test_what_prompts_share_is_read_once(llama):
    """Of four users with two orders each: 9 tokens of all, 5 of a user, 3 of an order."""
    users = [[[7] * 9 + [10 + user] * 5 + [20 + order] * 3 for order in range(2)] for user in range(4)]
    read = []
    handle = llama.get_input_embeddings().register_forward_hook(lambda *call: read.append(call[1][0].numel()))
    answer_logits(llama, users, numpy.array([5]), lambda _: None)
    handle.remove()
    assert sum(read) == 9 + 4 * (5 + 2 * 3)


def test_no_logits_but_the_last_are_computed(llama, monkeypatch):
    """The head of the model never sees more than one position a prompt: memory knows no vocabulary x length."""
    shapes = []
    handle = llama.get_output_embeddings().register_forward_hook(lambda *call: shapes.append(call[1][0].shape))
    answer_logits(llama, random_users(2), numpy.array([5]), lambda _: None)
    handle.remove()
    assert shapes
    assert all(positions == 1 for _, positions, _ in shapes)


def test_training_mode_is_left_as_it_was(llama):
    llama.train()
    answer_logits(llama, [[[3, 4]]], numpy.array([5]), lambda _: None)
    assert llama.training
    llama.eval()


def test_ranks_count_ties_against_the_target_and_ignore_empty_places():
    scores = numpy.array([[[3, 1, 2, 9]], [[1, 1, 1, 1]], [[5, 1, 2, 7]]], numpy.float32)
    sizes = numpy.array([3, 4, 4], numpy.int32)
    targets = numpy.array([[2], [0], [0]], numpy.int32)
    assert ranks_of_target(scores, sizes, targets).tolist() == [[2], [4], [2]]


@pytest.fixture
def dataset(write_dataset):
    return read_sequences(write_dataset([[(user + step) % 9 + 1 for step in range(6)] for user in range(8)]))


def candidates_for(dataset, split="test", model="sasrec"):
    """The target of every second user stands among the candidates, third."""
    users = numpy.arange(dataset.user_count, dtype=numpy.int32)
    targets = dataset.items[dataset.offsets[:-1] + dataset.position(split)]
    items = numpy.array(
        [[t % 9 + 1, (t + 1) % 9 + 1, t if user % 2 else (t + 3) % 9 + 1, 0] for user, t in enumerate(targets)],
        numpy.int32,
    )
    scores = numpy.where(items > 0, -numpy.arange(4.0), -numpy.inf).astype(numpy.float32)
    return Candidates(users=users, items=items, scores=scores, model=model, seed=0, split=split)


def test_the_task_is_of_users_whose_target_was_found(dataset):
    task = ranking_task(dataset, candidates_for(dataset), "test", 0, seed=1)
    assert task.users.tolist() == [1, 3, 5, 7]
    assert (task.population, task.found) == (8, 4)
    assert task.sizes.tolist() == [3] * 4
    assert task.places(RETRIEVER_ORDER).tolist() == [2] * 4
    pools, shuffled = task.candidates[RETRIEVER_ORDER], task.candidates[SHUFFLED_ORDER]
    for row, user in enumerate(task.users):
        whole = dataset.items[dataset.offsets[user] : dataset.offsets[user + 1]].tolist()
        assert task.histories[row] == whole[:-1]
        assert task.targets[row] == whole[-1]
        assert sorted(shuffled[row]) == sorted(pools[row])
        assert shuffled[row][task.places(SHUFFLED_ORDER)[row]] == task.targets[row]
    assert shuffled != pools
    again = ranking_task(dataset, candidates_for(dataset), "test", 0, seed=1)
    assert again.candidates == task.candidates
    assert len(ranking_task(dataset, candidates_for(dataset), "test", 3, seed=1).users) == 3


def test_the_shuffled_order_is_uniform(write_dataset):
    """A chi-squared test of the target's place over 2,000 users."""
    from scipy.stats import chisquare

    dataset = read_sequences(write_dataset([[(user + step) % 9 + 1 for step in range(6)] for user in range(4000)]))
    task = ranking_task(dataset, candidates_for(dataset), "test", 0, seed=3)
    counts = numpy.bincount(task.places(SHUFFLED_ORDER), minlength=3)
    assert chisquare(counts).pvalue > 0.001


def test_foreign_splits_and_empty_lists_are_said(dataset):
    with pytest.raises(InputError, match="of the validation split, not of test; run evaluate with --split test"):
        ranking_task(dataset, candidates_for(dataset, "validation"), "test", 0, seed=1)
    nothing = candidates_for(dataset)
    nothing.items[:] = 0
    with pytest.raises(InputError, match="sasrec found no user's target among its candidates"):
        ranking_task(dataset, nothing, "test", 0, seed=1)


def test_candidates_of_some_users_are_not_those_of_all(dataset):
    whole = candidates_for(dataset)
    some = replace(whole, users=whole.users[:3], items=whole.items[:3], scores=whole.scores[:3])
    with pytest.raises(InputError, match="sasrec are of 3 of the 8 users of the test split, and means over all users"):
        ranking_task(dataset, some, "test", 0, seed=1)
