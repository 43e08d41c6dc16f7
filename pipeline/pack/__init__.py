"""Pack: write the shards of the clips.

`selection` assigns tasks to shards, `build` writes one shard, `publish` completes the set.
"""
