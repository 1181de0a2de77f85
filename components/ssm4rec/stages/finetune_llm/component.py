"""The finetune_llm stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.finetune_llm.settings import Settings

finetune_llm = component(Settings)
