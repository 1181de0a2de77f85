"""The compare_models stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.compare_models.settings import Settings

compare_models = component(Settings)
