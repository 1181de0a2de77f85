"""The prepare_data stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.prepare_data.settings import Settings

prepare_data = component(Settings)
