"""Every stage as a KFP component; containers import the stages' own packages, and have no kfp."""

from ssm4rec.stages.align_llm.component import align_llm as align_llm
from ssm4rec.stages.choose_settings.component import choose_settings as choose_settings
from ssm4rec.stages.compare_models.component import compare_models as compare_models
from ssm4rec.stages.evaluate.component import evaluate as evaluate
from ssm4rec.stages.evaluate_generator.component import evaluate_generator as evaluate_generator
from ssm4rec.stages.finetune_llm.component import finetune_llm as finetune_llm
from ssm4rec.stages.measure_latency.component import measure_latency as measure_latency
from ssm4rec.stages.mine_preferences.component import mine_preferences as mine_preferences
from ssm4rec.stages.prepare_data.component import prepare_data as prepare_data
from ssm4rec.stages.rank_candidates.component import rank_candidates as rank_candidates
from ssm4rec.stages.recommend_all.component import recommend_all as recommend_all
from ssm4rec.stages.register_champion.component import register_champion as register_champion
from ssm4rec.stages.report.component import report as report
from ssm4rec.stages.train_generator.component import train_generator as train_generator
from ssm4rec.stages.train_recommender.component import train_recommender as train_recommender
