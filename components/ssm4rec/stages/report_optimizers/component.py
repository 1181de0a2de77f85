"""The report_optimizers stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.report_optimizers.settings import Settings

report_optimizers = component(Settings)
