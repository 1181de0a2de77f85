"""The report_reproduction stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.report_reproduction.settings import Settings

report_reproduction = component(Settings)
