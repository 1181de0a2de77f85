"""The sequence operators of the models: plain reference and fast form side by side."""
