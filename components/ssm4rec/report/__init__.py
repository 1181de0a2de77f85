"""Tables, figures and sentences of a study, from its files alone."""
