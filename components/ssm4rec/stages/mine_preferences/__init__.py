"""The stage that makes preference pairs for alignment."""
