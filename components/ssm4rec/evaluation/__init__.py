"""Full ranking of the catalog, metrics, baselines, and comparisons of models."""
