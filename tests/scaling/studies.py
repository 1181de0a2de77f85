"""Generated scaling studies whose law is known, on grids like the real one."""

import numpy

from ssm4rec.scaling.forms import Form
from ssm4rec.scaling.runs import Floats, Run, columns


def grid(depths=(1, 2, 3), octaves: int = 5, seeds: int = 3) -> list[Run]:
    """Return runs, yet without losses: widths 16 to 128, data halved from a million, seeds in the small corner."""
    return [
        Run(12 * depth * width**2 + 2 * depth * width, width, depth, 1_000_000 >> halved, 1.0, seed=seed)
        for width in (16, 32, 64, 128)
        for depth in depths
        for halved in reversed(range(octaves))
        for seed in range(seeds if width <= 32 and depth == 1 and halved >= 2 else 1)
    ]


def with_losses(runs: list[Run], losses: Floats, noise: float, rng: numpy.random.Generator) -> list[Run]:
    """Return the runs with these losses, off by a normal share of them."""
    drawn = losses * numpy.exp(noise * rng.standard_normal(len(runs)))
    return [
        Run(run.parameters, run.width, run.depth, run.data, float(loss), seed=run.seed)
        for run, loss in zip(runs, drawn, strict=True)
    ]


def study(form: Form, rng: numpy.random.Generator, runs: list[Run] | None = None) -> tuple[list[Run], Floats]:
    """Return a study and its true numbers: floor 3 to 6 nats, terms of 10 to 60% of it, seeds apart by 0.1 to 0.5%."""
    runs = runs or grid()
    logs, terms = columns(runs, form.columns), len(form.columns)
    floor, exponents, sizes = rng.uniform(3, 6), rng.uniform(0.25, 0.8, terms), rng.uniform(0.1, 0.6, terms)
    centre = (logs.min(axis=0) + logs.max(axis=0)) / 2
    numbers = numpy.concatenate([[floor], floor * sizes * numpy.exp(exponents * centre), exponents])
    return with_losses(runs, form.loss(numbers, logs), rng.uniform(0.001, 0.005), rng), numbers


def study_without_law(noise: float, rng: numpy.random.Generator) -> list[Run]:
    """Return a study whose loss depends on nothing."""
    runs = grid()
    return with_losses(runs, numpy.full(len(runs), 4.0), noise, rng)


OTHER_FORMS = ("width times depth", "size times data", "joint power")
"""Truths that no form of ours is."""


def study_of_another_form(kind: str, noise: float, rng: numpy.random.Generator) -> tuple[list[Run], float]:
    """Return a study of one of ``OTHER_FORMS`` and its true floor.

    E + A w^-a d^-c + B D^-b;   E + A w^-a + B D^-b + C w^-a D^-b;   E + (A N^(-a/b) + B / D)^b (Kaplan et al. 2020,
    "Scaling laws for neural language models", equation 1.5, with a floor).
    """
    runs = grid()
    names = ("parameters", "width", "depth", "data")
    logs = columns(runs, names)
    parameters, width, depth, data = (logs - (logs.min(axis=0) + logs.max(axis=0)) / 2).T
    floor, (a, b, c), terms = rng.uniform(3, 6), rng.uniform(0.25, 0.8, 3), rng.uniform(0.1, 0.6, 3)
    match kind:
        case "width times depth":
            above = terms[0] * numpy.exp(-a * width - c * depth) + terms[1] * numpy.exp(-b * data)
        case "size times data":
            of_width, of_data = numpy.exp(-a * width), numpy.exp(-b * data)
            above = terms[0] * of_width + terms[1] * of_data + terms[2] * of_width * of_data
        case _:
            of_size, of_data = (
                terms[0] ** (1 / b) * numpy.exp(-a / b * parameters),
                terms[1] ** (1 / b) / numpy.exp(data),
            )
            above = (of_size + of_data) ** b
    return with_losses(runs, floor * (1 + above), noise, rng), float(floor)
