"""Experiment tracking: the only package that talks to MLflow (``registry/`` writes and loads models in its format).

A stage resumes the run MLFLOW_RUN_ID if that is set (KFP's MLflow plugin and the local runner make one per task,
nested in the study's run), else starts a run of its own at MLFLOW_TRACKING_URI, else does not track.

Tracking never stops a stage and never holds it up for long (``delivery.py``): a record that MLflow refuses costs that
record; while MLflow does not answer, records wait here and are sent later, in order; at its end a stage waits at most
SSM4REC_TRACKING_SECONDS (90; less when it was killed) for what is still missing. No secret is recorded
(``addresses.py``), and what is longer than MLflow takes (3.17.2, mlflow/utils/validation.py:66-92) is cut, the whole
kept as a file.

Trainings are no LoggedModels of MLflow: without files one cannot be loaded, and its page hides the metrics behind nine
other columns, whereas the view of the runs (``experiment.py``) compares model, data set and seed at a glance.
"""

from ssm4rec.tracking.experiment import page_address
from ssm4rec.tracking.names import RECIPE
from ssm4rec.tracking.ports import free_port
from ssm4rec.tracking.registration import Registration
from ssm4rec.tracking.runs import end_task, finished, start_study, start_task, tracked_task
from ssm4rec.tracking.tracker import Tracker

__all__ = [
    "RECIPE",
    "Registration",
    "Tracker",
    "end_task",
    "finished",
    "free_port",
    "page_address",
    "start_study",
    "start_task",
    "tracked_task",
]
