"""Train ola-nano, a tiny Ola, from scratch on the synthetic world: tokenizer, weights, lessons, evaluation."""
