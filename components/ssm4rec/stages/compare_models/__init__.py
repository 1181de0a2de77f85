"""The stage that says which differences between models are significant."""
