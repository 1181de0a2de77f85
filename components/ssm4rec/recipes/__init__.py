"""What a profile sets for each kind of model, and how ``--overrides`` changes single fields."""
