"""Language models that rank and that write queries: prompts, preference pairs, fine-tuning, alignment, retrieval."""

import logging

# bitsandbytes, which peft imports, warns on every CPU of kernels for 4-bit layers that it does without.
logging.getLogger("bitsandbytes.backends.cpu.ops").addFilter(lambda record: "kernels-community" not in str(record.msg))
