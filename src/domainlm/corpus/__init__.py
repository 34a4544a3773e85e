"""Sources -> documents: `documents-*.parquet`, `ledger.json`, `prompts.json`."""
