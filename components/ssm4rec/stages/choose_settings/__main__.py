"""Choose the best scale of every optimizer, and list the trainings of the comparison."""

import logging

from ssm4rec.artifacts.curve import read_curve
from ssm4rec.runtime.files import write_json
from ssm4rec.settings.command_line import run_stage
from ssm4rec.stages.choose_settings.settings import Settings
from ssm4rec.studies.optimizers.plan import best_scales, comparison

logger = logging.getLogger(__name__)


def run(options: Settings) -> None:
    """Choose and write."""
    curves = [read_curve(path, "train_recommender") for path in options.curves]
    write_json(options.trainings, comparison(curves, options.controls, options.seeds, options.overrides))
    for (model, optimizer), scale in best_scales(curves).items():
        logger.info("%s: %s at %g", model, optimizer, scale)


if __name__ == "__main__":
    run_stage(Settings.parser(), run)
