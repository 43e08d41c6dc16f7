"""Alignment stages of Ola: recipes, tasks to tokens, the shard loader, the trainer and evaluation."""
