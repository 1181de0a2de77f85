"""The rank_candidates stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.rank_candidates.settings import Settings

rank_candidates = component(Settings)
