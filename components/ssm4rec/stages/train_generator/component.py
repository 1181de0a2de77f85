"""The train_generator stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.train_generator.settings import Settings

train_generator = component(Settings)
