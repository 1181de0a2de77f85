"""The stage that trains one recommender."""
