"""The stage that says which differences between models are more than chance."""
