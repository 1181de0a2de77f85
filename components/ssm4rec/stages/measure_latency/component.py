"""The measure_latency stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.measure_latency.settings import Settings

measure_latency = component(Settings)
