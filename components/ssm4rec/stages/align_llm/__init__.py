"""The stage that aligns a language-model ranker to preferences."""
