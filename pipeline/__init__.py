"""From videos to shards: steps, media access, engines and the CLI."""
