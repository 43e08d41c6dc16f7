"""Pack: clips in, shards out.

`choose` decides what goes where, `build` writes one shard, `publish` completes the set."""
