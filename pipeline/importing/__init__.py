"""Import external conversations and media as shards, in the layout that `pack` writes."""
