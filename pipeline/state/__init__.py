"""The state of a run below its root: sources, step keys, the lock, compaction, and steps that must run again."""
