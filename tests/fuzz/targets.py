"""The stages with inputs that are to be damaged: how each is called, on a small study that is made once."""

import importlib
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ssm4rec.settings.command_line import run_stage

PREPARE = "prepare_data"


@dataclass(frozen=True)
class Target:
    """A call of a stage.

    Attributes:
        name: of the target, such as ``train_recommender``.
        stage: the stage's name.
        arguments: its command line, ``IN/`` before what is read and ``OUT/`` before what is written.
        victims: the files that are damaged, below ``IN``.
        group: ``prepare``, ``recommenders`` or ``language models``: the last need transformers.
    """

    name: str
    stage: str
    arguments: tuple[str, ...]
    victims: tuple[str, ...]
    group: str = "recommenders"

    def inputs(self) -> list[str]:
        """Return the files and folders that the command line names, below ``IN``."""
        return [part.removeprefix("IN/") for text in self.arguments for part in text.split(",") if part[:3] == "IN/"]


def stage_module(stage: str) -> ModuleType:
    """Return the module of a stage's process."""
    return importlib.import_module(f"ssm4rec.stages.{stage}.__main__")


def call(stage: str, arguments: list[str]) -> None:
    """Run a stage in this process."""
    module = stage_module(stage)
    run_stage(module.Settings.parser(), module.run, arguments)


def placed(arguments: tuple[str, ...], inputs: Path, outputs: Path) -> list[str]:
    """Return a command line with its paths."""
    return [text.replace("IN/", f"{inputs}/").replace("OUT/", f"{outputs}/") for text in arguments]


DATASET = ("--dataset-dir", "IN/dataset")
DATASET_FILES = ("dataset/manifest.json", "dataset/sequences.parquet")
SASREC = ("IN/sasrec", "IN/lrurec")
MODEL_FILES = ("sasrec/config.json", "sasrec/model.safetensors")
EVALUATIONS = ("IN/sasrec.metrics.json", "IN/lrurec.metrics.json")
CURVES = ("IN/sasrec.curve.parquet", "IN/lrurec.curve.parquet")
REPORT = (
    "--report-html", "OUT/report.html", "--report-markdown", "OUT/report.md", "--results", "OUT/results.json",
    "--figures", "OUT/figures",
)  # fmt: skip
SWEEP = tuple(f"IN/sweep-{place}.parquet" for place in range(4))
COMPARED = tuple(f"IN/compared-{place}.parquet" for place in range(2))
WINDOWS = (5, 8)

RECOMMENDERS = (
    Target("train_recommender", "train_recommender",
           (*DATASET, "--model", "sasrec", "--profile", "smoke", "--overrides", "training.epochs=1",
            "--checkpoint-dir", "CHECKPOINTS", "--model-dir", "OUT/model", "--curve", "OUT/curve"), DATASET_FILES),
    Target("evaluate", "evaluate",
           (*DATASET, "--model-dir", "IN/sasrec", "--ranks", "OUT/ranks", "--candidates", "OUT/candidates",
            "--metrics", "OUT/metrics"), (*DATASET_FILES, "dataset/items.parquet", *MODEL_FILES)),
    Target("compare_models", "compare_models",
           (*DATASET, "--ranks", "IN/sasrec.ranks.parquet", "IN/lrurec.ranks.parquet", "--candidates",
            "IN/sasrec.candidates.parquet", "IN/lrurec.candidates.parquet", "--resamples", "100", "--comparison",
            "OUT/comparison"), (*DATASET_FILES, "sasrec.ranks.parquet", "sasrec.candidates.parquet")),
    Target("mine_preferences", "mine_preferences",
           (*DATASET, "--epochs", "1", "--components", "2", "--pairs", "OUT/pairs", "--counts", "OUT/counts"),
           (*DATASET_FILES, "dataset/interactions.parquet")),
    Target("mine_preferences-retriever", "mine_preferences",
           (*DATASET, "--pairs-by", "retriever", "--retriever-dir", "IN/sasrec", "--pairs", "OUT/pairs", "--counts",
            "OUT/counts"), (*DATASET_FILES, *MODEL_FILES)),
    Target("measure_latency", "measure_latency",
           (*DATASET, "--models", *SASREC, "--samples", "5", "--users", "4", "--batches", "4,1", "--warm-up", "0",
            "--latency", "OUT/latency", "--summary", "OUT/summary"), (*DATASET_FILES, *MODEL_FILES)),
    Target("recommend_all", "recommend_all",
           (*DATASET, "--model-dir", "IN/sasrec", "--users", "IN/users.csv", "--allowed-items", "IN/items.csv",
            "--checkpoint-dir", "CHECKPOINTS", "--recommendations-dir", "OUT/recommendations"),
           (*DATASET_FILES, "dataset/items.parquet", *MODEL_FILES, "users.csv", "items.csv")),
    Target("register_champion", "register_champion",
           (*DATASET, "--models", *SASREC, "--champion-dir", "OUT/champion", "--registration", "OUT/registration"),
           (*DATASET_FILES, "dataset/interactions.parquet", "dataset/items.parquet", *MODEL_FILES)),
    Target("choose_settings", "choose_settings",
           ("--curves", *SWEEP, "--trainings", "OUT/trainings"), ("sweep-0.parquet",)),
    Target("report-optimizers", "report",
           ("--study", "optimizers",
            "--sweep", *SWEEP, "--curves", *COMPARED, *REPORT), ("sweep-0.parquet", "compared-0.parquet")),
    Target("report-long-histories", "report",
           ("--study", "long-histories",
            *DATASET, "--evaluations", *(f"IN/window{window}.metrics.json" for window in WINDOWS), "--ranks",
            *(f"IN/window{window}.ranks.parquet" for window in WINDOWS), "--latency", "IN/lengths.json",
            "--resamples", "100", *REPORT),
           (*DATASET_FILES, "window5.metrics.json", "window5.ranks.parquet", "lengths.json")),
    Target("report-reproduction", "report",
           ("--study", "reproduction",
            "--dataset-dir", "IN/recbole", "--evaluations", "IN/recbole.metrics.json", "--ranks",
            "IN/recbole.ranks.parquet", "--resamples", "100", *REPORT),
           ("recbole/manifest.json", "recbole/sequences.parquet", "recbole.metrics.json", "recbole.ranks.parquet")),
    Target("report", "report",
           ("--study", "comparative",
            *DATASET, "--evaluations", *EVALUATIONS, "--curves", *CURVES, "--comparison", "IN/comparison.json",
            "--latency", "IN/latency.json", "--latency-samples", "IN/latency.parquet", "--global-time-dataset",
            "IN/later", "--global-time-evaluations", "IN/later.metrics.json", "--global-time-comparison",
            "IN/later.comparison.json", *REPORT),
           (*DATASET_FILES, "dataset/interactions.parquet", "sasrec.metrics.json", "sasrec.curve.parquet",
            "comparison.json", "latency.json", "latency.parquet", "later/manifest.json", "later.metrics.json",
            "later.comparison.json")),
)  # fmt: skip

LM_FILES = ("lm/config.json", "lm/generation_config.json", "lm/model.safetensors", "lm/tokenizer.json",
            "lm/tokenizer_config.json")  # fmt: skip
ADAPTER_FILES = ("adapter/adapter_config.json", "adapter/adapter_model.safetensors", "adapter/ranker.json")
ITEM_FILES = ("items/config.json", "items/model.safetensors", "items/ranker.json")
GENERATOR_FILES = ("generator/config.json", "generator/generator.json", "generator/model.safetensors",
                   "generator/tokenizer.json", "generator/tokenizer_config.json",
                   "generator/generation_config.json")  # fmt: skip
TUNE = "finetune.negatives=9,finetune.lora.rank=2,"
TUNE += "finetune.prompts=4,finetune.validation_users=2,finetune.steps.learning_rate=0.003"
TUNE_ITEMS = "ranker=items,items.layers=1,items.features=4,items.id_width=4,items.query_width=4,items.steps=2"
ALIGN = "align.pairs=4,align.negatives=8"
GENERATE = "training.epochs=1"
FILES_OF_RANKERS = ("tuned.rankings.parquet", "tuned.ranking.json", "aligned.rankings.parquet", "aligned.ranking.json",
                    "tuning.parquet", "alignment.parquet", "generation.json")  # fmt: skip

LANGUAGE_MODELS = (
    Target("finetune_llm", "finetune_llm",
           (*DATASET, "--candidates", "IN/validation.candidates.parquet", "--language-model", "IN/lm", "--profile",
            "smoke", "--overrides", TUNE, "--checkpoint-dir", "CHECKPOINTS", "--adapter-dir", "OUT/adapter",
            "--curve", "OUT/curve"),
           (*DATASET_FILES, "dataset/items.parquet", "validation.candidates.parquet", *LM_FILES)),
    Target("rank_candidates", "rank_candidates",
           (*DATASET, "--candidates", "IN/sasrec.candidates.parquet", "--adapter-dir", "IN/adapter", "--users", "2",
            "--rankings", "OUT/rankings", "--ranking", "OUT/ranking"),
           (*DATASET_FILES, "dataset/items.parquet", "sasrec.candidates.parquet", *ADAPTER_FILES)),
    Target("rank_candidates-items", "rank_candidates",
           (*DATASET, "--candidates", "IN/sasrec.candidates.parquet", "--adapter-dir", "IN/items", "--users", "2",
            "--rankings", "OUT/rankings", "--ranking", "OUT/ranking"), ITEM_FILES),
    Target("align_llm-items", "align_llm",
           (*DATASET, "--pairs", "IN/pairs.parquet", "--adapter-dir", "IN/items", "--profile", "smoke",
            "--overrides", ALIGN, "--checkpoint-dir", "CHECKPOINTS", "--aligned-dir", "OUT/aligned", "--curve",
            "OUT/alignment"), ITEM_FILES),
    Target("align_llm", "align_llm",
           (*DATASET, "--pairs", "IN/pairs.parquet", "--adapter-dir", "IN/adapter", "--profile", "smoke",
            "--overrides", ALIGN, "--checkpoint-dir", "CHECKPOINTS", "--aligned-dir", "OUT/aligned", "--curve",
            "OUT/alignment"), ("dataset/items.parquet", "pairs.parquet", *ADAPTER_FILES)),
    Target("train_generator", "train_generator",
           (*DATASET, "--model", "gpt4rec", "--language-model", "IN/lm", "--profile", "smoke", "--overrides", GENERATE,
            "--checkpoint-dir", "CHECKPOINTS", "--generator-dir", "OUT/generator", "--curve", "OUT/curve"),
           (*DATASET_FILES, "dataset/items.parquet", *LM_FILES)),
    Target("evaluate_generator", "evaluate_generator",
           (*DATASET, "--generator-dir", "IN/generator", "--lists", "OUT/lists", "--metrics", "OUT/metrics"),
           (*DATASET_FILES, "dataset/items.parquet", *GENERATOR_FILES)),
    Target("report-adapters", "report",
           ("--study", "adapters", "--adapters", "IN/adapter", "IN/adapter-usgm", "--curves", "IN/tuning.parquet",
            "IN/tuning-usgm.parquet", *REPORT), ("adapter/ranker.json", "tuning.parquet")),
    Target("report-rankers", "report",
           ("--study", "comparative",
            *DATASET, "--evaluations", *EVALUATIONS, "--curves", *CURVES, "--finetuned-rankings",
            "IN/tuned.rankings.parquet", "--finetuned-summaries", "IN/tuned.ranking.json", "--aligned-rankings",
            "IN/aligned.rankings.parquet", "--aligned-summaries", "IN/aligned.ranking.json", "--tunings",
            "IN/tuning.parquet", "--alignments", "IN/alignment.parquet", "--generations", "IN/generation.json",
            *REPORT), FILES_OF_RANKERS),
)  # fmt: skip
LANGUAGE_MODELS = tuple(
    Target(one.name, one.stage, one.arguments, one.victims, "language models") for one in LANGUAGE_MODELS
)


def write_study(folder: Path, language_models: bool) -> None:
    """Make every file that the targets read, by the stages themselves."""
    steps: list[Callable[[Path], None]] = [_write_recommenders]
    if language_models:
        steps.append(_write_language_models)
    for step in steps:
        step(folder)


def _caller(folder: Path) -> Callable[..., None]:
    def run(stage: str, *arguments: str) -> None:
        call(stage, [text.replace("IN/", f"{folder}/") for text in arguments])

    return run


def _write_recommenders(folder: Path) -> None:
    run = _caller(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [
        f"u{user},i{(user + step) % 40},{1_600_000_000 + 100_000 * step + user},{1 + (user * step) % 5}"
        for user in range(30)
        for step in range(6 + user % 7)
    ]
    (folder / "events.csv").write_text("\n".join(["user_id,item_id,timestamp,rating", *rows]) + "\n")
    titles = "".join(f"i{item},The {WORDS[item % 10]} {WORDS[item // 10]} ({1960 + item})\n" for item in range(40))
    (folder / "items.csv").write_text("item_id,title\n" + titles)
    (folder / "users.csv").write_text("user_id\nu1\nu2\nnobody\n")
    for name, splitting in (("dataset", "leave-one-out"), ("later", "global-time")):
        run("prepare_data", "--dataset", "events", "--source", "IN/events.csv", "--items-source", "IN/items.csv",
            "--rating-column", "rating", "--k-core", "2", "--splitting", splitting,
            "--dataset-dir", f"IN/{name}")  # fmt: skip

    def train(name: str, model: str, overrides: str = "training.epochs=2", data: str = "dataset") -> None:
        run("train_recommender", "--dataset-dir", f"IN/{data}", "--model", model, "--profile", "smoke", "--overrides",
            overrides, "--model-dir", f"IN/{name}", "--curve", f"IN/{name}.curve.parquet")  # fmt: skip

    def evaluate(name: str, data: str = "dataset", split: str = "test", out: str = "") -> None:
        run("evaluate", "--dataset-dir", f"IN/{data}", "--model-dir", f"IN/{name}", "--split", split, "--ranks",
            f"IN/{out or name}.ranks.parquet", "--candidates", f"IN/{out or name}.candidates.parquet", "--metrics",
            f"IN/{out or name}.metrics.json")  # fmt: skip

    for model in ("sasrec", "lrurec"):
        train(model, model)
        evaluate(model)
    evaluate("sasrec", split="validation", out="validation")
    train("later-sasrec", "sasrec", data="later")
    evaluate("later-sasrec", "later", out="later")
    for window in WINDOWS:
        train(f"window{window}", "sasrec", f"training.epochs=2,model.max_length={window}")
        evaluate(f"window{window}")
    lines = [f"{row.split(',')[0][1:]}::{int(row.split(',')[1][1:]) + 1}::3::{row.split(',')[2]}\n" for row in rows]
    films = "".join(f"{film}::Film {film} (1995)::Drama\n" for film in range(1, 41))
    with zipfile.ZipFile(folder / "ml-1m.zip", "w") as file:
        file.writestr("ml-1m/ratings.dat", "".join(lines))
        file.writestr("ml-1m/movies.dat", films.encode("latin-1"))
    run("prepare_data", "--dataset", "ml-1m", "--source", "IN/ml-1m.zip", "--any-checksum", "true", "--event-order",
        "recbole", "--k-core", "2", "--dataset-dir", "IN/recbole")  # fmt: skip
    train("recbole-sasrec", "sasrec", data="recbole")
    evaluate("recbole-sasrec", "recbole", out="recbole")
    for place, (optimizer, setting, scale) in enumerate(
        [("adam", "learning_rate", "0.001"), ("adam", "learning_rate", "0.002"), ("sgd", "learning_rate", "0.1"),
         ("sgd", "learning_rate", "0.3")]
    ):  # fmt: skip
        changes = f"training.epochs=2,training.optimizer={optimizer},training.{setting}={scale},training.weight_decay=0"
        train(f"sweep{place}", "sasrec", changes)
        (folder / f"sweep{place}.curve.parquet").rename(folder / f"sweep-{place}.parquet")
    for place, source in enumerate((1, 3)):
        (folder / f"compared-{place}.parquet").write_bytes((folder / f"sweep-{source}.parquet").read_bytes())
    run("compare_models", *DATASET, "--ranks", "IN/sasrec.ranks.parquet", "IN/lrurec.ranks.parquet", "--candidates",
        "IN/sasrec.candidates.parquet", "IN/lrurec.candidates.parquet", "--resamples", "100", "--comparison",
        "IN/comparison.json")  # fmt: skip
    run("compare_models", "--dataset-dir", "IN/later", "--ranks", "IN/later.ranks.parquet", "--candidates",
        "IN/later.candidates.parquet", "--resamples", "100", "--comparison", "IN/later.comparison.json")  # fmt: skip
    timed = ("--samples", "5", "--users", "4", "--warm-up", "0")
    run("measure_latency", *DATASET, "--models", *SASREC, *timed, "--batches", "4,1", "--latency", "IN/latency.parquet",
        "--summary", "IN/latency.json")  # fmt: skip
    run("measure_latency", *DATASET, "--models", "IN/window5", "IN/window8", "--longest-only", "true", *timed,
        "--batches", "", "--lengths", "5,20", "--latency", "IN/lengths.parquet", "--summary",
        "IN/lengths.json")  # fmt: skip
    run("mine_preferences", *DATASET, "--epochs", "1", "--components", "2", "--pairs", "IN/pairs.parquet", "--counts",
        "IN/counts.json")  # fmt: skip


WORDS = ["Red", "Blue", "Green", "Dark", "Silent", "Golden", "Lost", "River", "Mountain", "Star"]


def _write_language_models(folder: Path) -> None:
    from tests.language_models import tiny_model, train_tokenizer

    run = _caller(folder)
    tokenizer = train_tokenizer()
    tiny_model("llama", len(tokenizer)).save_pretrained(str(folder / "lm"))
    tokenizer.save_pretrained(str(folder / "lm"))

    def tune(name: str, overrides: str) -> None:
        run("finetune_llm", *DATASET, "--candidates", "IN/validation.candidates.parquet", "--language-model", "IN/lm",
            "--profile", "smoke", "--overrides", overrides, "--adapter-dir", f"IN/adapter{name}", "--curve",
            f"IN/tuning{name}.parquet")  # fmt: skip

    tune("", TUNE)
    tune("-items", TUNE_ITEMS)
    (folder / "adapter-items").rename(folder / "items")
    tune("-usgm", f"{TUNE.rpartition(',')[0]},finetune.steps.optimizer=usgm,finetune.steps.diameter=0.1")
    run("align_llm", *DATASET, "--pairs", "IN/pairs.parquet", "--adapter-dir", "IN/adapter", "--profile", "smoke",
        "--overrides", ALIGN, "--aligned-dir", "IN/aligned", "--curve", "IN/alignment.parquet")  # fmt: skip
    for name, adapter, base in (("tuned", "adapter", "true"), ("aligned", "aligned", "false")):
        run("rank_candidates", *DATASET, "--candidates", "IN/sasrec.candidates.parquet", "--adapter-dir",
            f"IN/{adapter}", "--users", "4", "--base", base, "--rankings", f"IN/{name}.rankings.parquet", "--ranking",
            f"IN/{name}.ranking.json")  # fmt: skip
    run(
        "train_generator",
        *DATASET,
        "--model",
        "gpt4rec",
        "--language-model",
        "IN/lm",
        "--profile",
        "smoke",
        "--overrides",
        GENERATE,
        "--generator-dir",
        "IN/generator",
        "--curve",
        "IN/generator.curve.parquet",
    )
    run("evaluate_generator", *DATASET, "--generator-dir", "IN/generator", "--lists", "IN/lists.parquet", "--metrics",
        "IN/generation.json")  # fmt: skip


def finite_json(path: Path) -> bool:
    """Return whether a file is JSON without NaN and infinity."""

    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(path.read_text(encoding="utf-8"), parse_constant=refuse)
    except ValueError:
        return False
    return True


TARGETS = (*RECOMMENDERS, *LANGUAGE_MODELS)
