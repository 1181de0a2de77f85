"""Language models that rank and that write queries: prompts, preference pairs, fine-tuning, alignment, retrieval."""
