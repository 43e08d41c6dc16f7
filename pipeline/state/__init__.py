"""The state of a run below its root: sources, keys of steps, the lock, compaction, and which steps must run again."""
