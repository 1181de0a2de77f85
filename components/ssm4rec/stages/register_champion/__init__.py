"""The stage that makes the best model an MLflow model and registers it."""
