"""The report stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.report.settings import Settings

report = component(Settings)
