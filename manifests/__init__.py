"""The nouns: records, their Arrow schemas, the ledger of parts, the journal, and DuckDB views over all of it."""
