"""The mine_preferences stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.mine_preferences.settings import Settings

mine_preferences = component(Settings)
