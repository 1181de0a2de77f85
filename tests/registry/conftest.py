"""What pytest leaves alone here: the code in an MLflow model of before, which is imported with the model."""

collect_ignore = ["before_names"]
