"""The stage that evaluates a generative recommender."""
