"""The report_adapters stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.report_adapters.settings import Settings

report_adapters = component(Settings)
