"""The alignment study's parameters."""

import argparse
from typing import Any

from pipelines.parameters.parser import ParametersParser
from pipelines.parameters.shared import add_for_language_models, language_model_arguments
from ssm4rec.command_line import one_of, seeds, texts
from ssm4rec.contracts import DEFAULT_LANGUAGE_MODEL, MODELS


class OrpoStudyParser(ParametersParser):
    """The flags of the alignment study."""

    def __init__(self, module: str, description: str) -> None:
        super().__init__(module, description)
        self.add_argument("--dataset", default="ml-100k", help="name of the data set; its items need titles")
        self.add_argument(
            "--language-models",
            type=texts,
            default=DEFAULT_LANGUAGE_MODEL,
            help="sources to fine-tune and align, by commas",
        )
        self.add_argument(
            "--retriever",
            type=one_of(MODELS),
            default="lrurec",
            help=f"whose candidates they rank, of {', '.join(MODELS)}",
        )
        self.add_argument("--seeds", type=seeds, default="0", help="seeds to train each with, separated by commas")
        add_for_language_models(self)


def orpo_study_arguments(options: argparse.Namespace) -> dict[str, Any]:
    """Return the alignment study's arguments for parsed flags."""
    return {
        "trainings": [{"model": options.retriever, "seed": 0}],
        "rankers": [
            {"language_model": source, "seed": seed} for source in options.language_models for seed in options.seeds
        ],
        "llm_overrides": options.llm_overrides,
        **language_model_arguments(options),
    }
