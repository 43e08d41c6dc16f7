"""A tiny Ola trained from nothing on the procedural world: its words, its first weights, and its lessons."""
