"""The choose_settings stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.choose_settings.settings import Settings

choose_settings = component(Settings)
