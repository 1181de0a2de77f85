"""The stage that ranks a retriever's candidates by a language model."""
