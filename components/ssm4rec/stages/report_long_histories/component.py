"""The report_long_histories stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.report_long_histories.settings import Settings

report_long_histories = component(Settings)
