"""Training of generators: the loss is transformers' own, held-out items stay out, a killed training resumes."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from ssm4rec.artifacts.curve import TRAIN, VALIDATION, Point
from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.llm.generator_folder import new_generator
from ssm4rec.llm.generator_settings import GeneratorRecipe, GeneratorTraining, ScratchSettings, SearchSettings
from ssm4rec.llm.generator_training import rate_share, train_generator
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.queries import QueryPrompts, draw_examples, draw_users, history_and_target
from ssm4rec.llm.validated_trainer import Trained
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.distributed import Distributed
from ssm4rec.training.task import Task
from tests.language_models import title

CPU = torch.device("cpu")
TITLES = ["", *(title(item) for item in range(1, 40))]
RECIPE = GeneratorRecipe(
    source="scratch:gpt2",
    scratch=ScratchSettings(width=32, layers=1, vocabulary=400),
    prompt=PromptFormat(history=3, title_tokens=12, maximum_tokens=96),
    training=GeneratorTraining(loss_on="text", examples=2, epochs=3, tokens_per_batch=600, learning_rate=5e-3),
    search=SearchSettings(queries=5),
)


def run(dataset: SequenceDataset, recipe: GeneratorRecipe, folder: Path, on_point=lambda point: None):
    generator = new_generator(recipe, TITLES, folder, CPU, seed=3)
    prompts = QueryPrompts(generator.tokenizer, TITLES, recipe.prompt)
    task = Task("gpt4rec", recipe, dataset, 3)
    trained = train_generator(task, generator.model, prompts, Distributed(CPU), folder / "checkpoints", on_point)
    return generator.model, prompts, trained


def losses(trained: Trained, split: str) -> list[float]:
    return [point.values["loss"] for point in trained.points if point.split == split]


@pytest.mark.parametrize("source", ["scratch:gpt2", "scratch:mamba2"])
def test_a_killed_training_ends_with_the_same_weights(source, cycle_dataset, tmp_path):
    dataset, recipe = read_sequences(cycle_dataset), replace(RECIPE, source=source)
    whole, _, through = run(dataset, recipe, tmp_path / "whole")
    assert [point.values["epoch"] for point in through.points if point.split == TRAIN] == [1, 2, 3]
    validation = losses(through, VALIDATION)
    assert validation[2] < validation[0]

    def kill(point: Point) -> None:
        if point.values["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(dataset, recipe, tmp_path / "killed", kill)
    seen: list[Point] = []
    again, _, resumed = run(dataset, recipe, tmp_path / "killed", seen.append)
    assert tuple(seen) == resumed.points
    assert [(point.step, point.split) for point in seen] == [(point.step, point.split) for point in through.points]
    for split in (TRAIN, VALIDATION):
        assert losses(resumed, split) == losses(through, split)
    assert 0 < resumed.tokens < through.tokens
    for (name, one), (_, other) in zip(whole.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_a_finished_training_is_not_repeated(cycle_dataset, tmp_path, caplog):
    dataset = read_sequences(cycle_dataset)
    with caplog.at_level("INFO"):
        whole, _, trained = run(dataset, RECIPE, tmp_path)
    steps = trained.last.step
    assert (
        f"gpt4rec seed 3 step {steps}/{steps}: validation epoch 3, loss " in caplog.text
    )  # the runner reads this form
    again, _, finished = run(dataset, RECIPE, tmp_path)
    assert (finished.points, finished.tokens) == (trained.points, 0)
    assert all(torch.equal(one, again.state_dict()[name]) for name, one in whole.state_dict().items())


def test_a_checkpoint_of_an_earlier_version_is_refused_in_one_line(cycle_dataset, tmp_path):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "checkpoint.safetensors").write_bytes(b"of the loop before")
    with pytest.raises(InputError, match="a checkpoint of an earlier version of this project; remove it to start"):
        run(read_sequences(cycle_dataset), RECIPE, tmp_path)


def test_the_rate_rises_and_falls_by_the_share_of_epochs(cycle_dataset, tmp_path, monkeypatch):
    """Each epoch is the same share of the training, however many batches its examples make."""
    rates = []
    step = torch.optim.AdamW.step

    def spy(optimizer, *args, **more):
        rates.append(optimizer.param_groups[0]["lr"])
        return step(optimizer, *args, **more)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    training = replace(RECIPE.training, warmup=0.4)
    _, _, trained = run(read_sequences(cycle_dataset), replace(RECIPE, training=training), tmp_path)
    ends = [0, *(point.step for point in trained.points if point.split == TRAIN)]
    passed = [
        (epoch + number / (end - start)) / 3
        for epoch, (start, end) in enumerate(itertools.pairwise(ends))
        for number in range(end - start)
    ]
    assert rates == [5e-3 * rate_share(training, share) for share in passed]


@pytest.mark.parametrize("source", ["scratch:gpt2", "scratch:mamba2"])
@pytest.mark.parametrize("loss_on", ["title", "text"])
def test_the_losses_are_those_of_transformers(loss_on, source, write_dataset, tmp_path):
    # Two training items a user: the only example is the second after the first, so it is known what was trained on.
    dataset = read_sequences(write_dataset([[user, user + 1, user + 2, user + 3] for user in range(1, 12)]))
    training = replace(RECIPE.training, loss_on=loss_on, epochs=1, learning_rate=1e-12, tokens_per_batch=200)
    model, prompts, outcome = run(dataset, replace(RECIPE, source=source, training=training), tmp_path)

    def loss(examples: list, answers_only: bool) -> float:
        total, count = 0.0, 0
        for example in examples:
            tokens = torch.tensor([example.tokens])
            labels = tokens.clone()
            labels[0, : example.answer_start if answers_only else 1] = -100
            counted = int((labels != -100).sum())
            total += model(tokens, labels=labels).loss.item() * counted
            count += counted
        return total / count

    trained = [prompts.example([user], user + 1) for user in range(1, 12)]
    held_out = [prompts.example([user, user + 1], user + 2) for user in range(1, 12)]
    assert losses(outcome, TRAIN)[0] == pytest.approx(loss(trained, loss_on == "title"), rel=1e-5)
    assert losses(outcome, VALIDATION)[0] == pytest.approx(loss(held_out, True), rel=1e-5)


def test_examples_are_of_the_training_part_alone(cycle_dataset, tokenizer):
    dataset = read_sequences(cycle_dataset)
    prompts = QueryPrompts(tokenizer, TITLES, PromptFormat(history=50))
    users = numpy.flatnonzero(dataset.train_length >= 2)
    possible = {
        user: {
            tuple(prompts.example(*history_and_target(dataset, user, position)).tokens): position
            for position in range(1, dataset.train_length[user])
        }
        for user in users.tolist()
    }
    seen = set()
    for seed in range(20):
        examples = draw_examples(dataset, 3, prompts, numpy.random.default_rng(seed))
        assert len(examples) == 3 * len(users)  # the shortest has 4 training items: 3 targets
        owners = numpy.repeat(users, 3).tolist()
        seen |= {(user, possible[user][tuple(one.tokens)]) for user, one in zip(owners, examples, strict=True)}
    every = {(user, position) for user in users.tolist() for position in range(1, dataset.train_length[user])}
    assert seen == every


def test_users_are_drawn_by_the_seed(cycle_dataset):
    dataset = read_sequences(cycle_dataset)
    some = draw_users(dataset, "test", 10, 1)
    assert len(set(some.tolist())) == 10
    assert (numpy.diff(some) > 0).all()
    assert draw_users(dataset, "test", 10, 1).tolist() == some.tolist() != draw_users(dataset, "test", 10, 2).tolist()
    assert draw_users(dataset, "test", 0, 1).tolist() == draw_users(dataset, "test", 99, 1).tolist() == list(range(40))


def test_a_training_stops_when_it_gets_no_better_and_keeps_the_best(cycle_dataset, tmp_path):
    # A rate that ruins the model after a few steps.
    training = replace(RECIPE.training, epochs=8, patience=2, learning_rate=0.5, warmup=0.9, gradient_norm=1e9)
    _, _, trained = run(read_sequences(cycle_dataset), replace(RECIPE, training=training), tmp_path)
    found = losses(trained, VALIDATION)
    best = trained.best.values["epoch"]
    assert len(found) == trained.last.values["epoch"] == best + 2 < 8
    assert best == found.index(min(found)) + 1


@pytest.mark.parametrize(
    ("sequences", "change", "message"),
    [
        ([[1], [2], [3]], {}, "no user has two training items"),
        ([[1, 2], [3, 4]], {}, "no user is in the validation split"),
        (
            [[1, 2, 3, 4]] * 9,
            {"learning_rate": 1e30},
            r"gpt4rec seed 3 diverged: the loss .*training.learning_rate=",
        ),
    ],
)
def test_what_cannot_be_trained(sequences, change, message, write_dataset, tmp_path):
    recipe = replace(RECIPE, training=replace(RECIPE.training, **change))
    with pytest.raises(InputError, match=message):
        run(read_sequences(write_dataset(sequences)), recipe, tmp_path)


def test_a_foreign_checkpoint_is_refused(cycle_dataset, tmp_path):
    dataset = read_sequences(cycle_dataset)
    short = replace(RECIPE, training=replace(RECIPE.training, epochs=1))
    run(dataset, short, tmp_path)
    with pytest.raises(InputError, match=r"another training: recipe.training.epochs is 1 there and 2 here"):
        run(dataset, replace(RECIPE, training=replace(RECIPE.training, epochs=2)), tmp_path)
