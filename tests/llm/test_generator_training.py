"""Training of generators: the loss is transformers' own, held-out items stay out, a killed training goes on."""

from dataclasses import replace
from pathlib import Path

import numpy
import pytest
import torch

from ssm4rec.artifacts.dataset import SequenceDataset, read_sequences
from ssm4rec.llm.generator_folder import new_generator, query_prompts
from ssm4rec.llm.generator_progress import GeneratorEpoch, GeneratorProgress
from ssm4rec.llm.generator_settings import GeneratorRecipe, GeneratorTraining, ScratchSettings, SearchSettings
from ssm4rec.llm.generator_training import (
    draw_examples,
    draw_users,
    history_and_target,
    train_generator,
)
from ssm4rec.llm.prompts import PromptFormat
from ssm4rec.llm.queries import QueryPrompts
from ssm4rec.runtime.errors import InputError
from ssm4rec.training.machine import Machine
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


def run(dataset: SequenceDataset, recipe: GeneratorRecipe, folder: Path, on_epoch=lambda row: None):
    generator = new_generator(recipe, TITLES, folder, CPU, seed=3)
    prompts = query_prompts(generator, TITLES, recipe)
    task = Task("gpt4rec", recipe, dataset, 3)
    progress = train_generator(task, generator.model, prompts, Machine(CPU), folder / "checkpoints", on_epoch)
    return generator.model, prompts, progress


@pytest.mark.parametrize("source", ["scratch:gpt2", "scratch:mamba2"])
def test_a_killed_training_ends_with_the_same_weights(source, cycle_dataset, tmp_path):
    dataset, recipe = read_sequences(cycle_dataset), replace(RECIPE, source=source)
    whole, _, through = run(dataset, recipe, tmp_path / "whole")
    assert [row.epoch for row in through.rows] == [1, 2, 3]
    assert through.rows[2].validation_loss < through.rows[0].validation_loss

    def kill(row: GeneratorEpoch) -> None:
        if row.epoch == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(dataset, recipe, tmp_path / "killed", kill)
    seen: list[GeneratorEpoch] = []
    again, _, resumed = run(dataset, recipe, tmp_path / "killed", seen.append)
    assert seen == list(resumed.rows)
    assert [(row.epoch, row.train_loss, row.validation_loss) for row in resumed.rows] == [
        (row.epoch, row.train_loss, row.validation_loss) for row in through.rows
    ]
    for (name, one), (_, other) in zip(whole.state_dict().items(), again.state_dict().items(), strict=True):
        assert torch.equal(one, other), name


def test_rows_of_an_earlier_version_are_refused_in_one_line(tmp_path):
    old = {"epoch": 1, "train_loss": 2.0, "validation_loss": 2.0, "tokens_per_second": 9.0, "cpu_seconds": 1.0}
    with pytest.raises(InputError, match="a checkpoint of an earlier version of this project; remove it"):
        GeneratorProgress.of([old], tmp_path)


@pytest.mark.parametrize("source", ["scratch:gpt2", "scratch:mamba2"])
@pytest.mark.parametrize("loss_on", ["title", "text"])
def test_the_losses_are_those_of_transformers(loss_on, source, write_dataset, tmp_path):
    # Two training items a user: the only example is the second after the first, so it is known what was trained on.
    dataset = read_sequences(write_dataset([[user, user + 1, user + 2, user + 3] for user in range(1, 12)]))
    training = replace(RECIPE.training, loss_on=loss_on, epochs=1, learning_rate=1e-12, tokens_per_batch=200)
    model, prompts, progress = run(dataset, replace(RECIPE, source=source, training=training), tmp_path)

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
    assert progress.rows[0].train_loss == pytest.approx(loss(trained, loss_on == "title"), rel=1e-5)
    assert progress.rows[0].validation_loss == pytest.approx(loss(held_out, True), rel=1e-5)


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
    _, _, progress = run(read_sequences(cycle_dataset), replace(RECIPE, training=training), tmp_path)
    losses = [row.validation_loss for row in progress.rows]
    assert len(losses) == progress.best_epoch + 2 < 8
    assert progress.best_epoch == losses.index(min(losses)) + 1


@pytest.mark.parametrize(
    ("sequences", "change", "message"),
    [
        ([[1], [2], [3]], {}, "no user has two training items"),
        ([[1, 2], [3, 4]], {}, "no user is in the validation split"),
        ([[1, 2, 3, 4]] * 9, {"learning_rate": 1e30}, r"gpt4rec diverged: the loss became .*training.learning_rate="),
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
