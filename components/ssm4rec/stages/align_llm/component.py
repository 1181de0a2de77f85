"""The align_llm stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.align_llm.settings import Settings

align_llm = component(Settings)
