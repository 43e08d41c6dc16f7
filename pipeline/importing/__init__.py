"""Data of others: conversations and media that lie elsewhere become shards, as if the pipeline had packed them."""
