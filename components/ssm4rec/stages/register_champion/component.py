"""The register_champion stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.register_champion.settings import Settings

register_champion = component(Settings)
