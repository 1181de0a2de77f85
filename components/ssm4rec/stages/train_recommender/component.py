"""The train_recommender stage as KFP sees it."""

from ssm4rec.settings.kfp_component import component
from ssm4rec.stages.train_recommender.settings import Settings

train_recommender = component(Settings)
