"""Full ranking of the catalog, metrics, and the files an evaluation writes."""
