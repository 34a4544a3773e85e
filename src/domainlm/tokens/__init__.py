"""Documents -> tokenizer and shards."""
