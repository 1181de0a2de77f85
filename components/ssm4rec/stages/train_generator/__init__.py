"""The stage that fine-tunes a generative recommender."""
