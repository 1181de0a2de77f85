"""The evaluate stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.evaluate.settings import Settings

evaluate = component(Settings)
