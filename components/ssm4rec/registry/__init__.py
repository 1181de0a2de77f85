"""The best recommender as an MLflow model: which one, what it answers, how it is written."""
