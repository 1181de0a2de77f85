"""The studies, a folder each: ``plan.py`` says what is trained. Their pipelines are in ``pipelines/``."""
