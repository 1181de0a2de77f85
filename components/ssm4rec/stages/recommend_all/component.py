"""The recommend_all stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.recommend_all.settings import Settings

recommend_all = component(Settings)
