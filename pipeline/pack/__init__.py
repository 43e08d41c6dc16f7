"""Pack: write the shards of the clips.

`choose` decides what goes where, `build` writes one shard, `publish` completes the set."""
