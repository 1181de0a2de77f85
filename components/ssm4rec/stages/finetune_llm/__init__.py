"""The stage that fine-tunes a language model to rank candidates."""
