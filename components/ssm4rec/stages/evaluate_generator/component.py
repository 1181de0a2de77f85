"""The evaluate_generator stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.evaluate_generator.settings import Settings

evaluate_generator = component(Settings)
