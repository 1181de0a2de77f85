"""The stage that prepares a data set."""
