"""Near-duplicates: candidate pairs by banded hashing, verification by aligned runs, groups."""
