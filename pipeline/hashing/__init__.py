"""Hashes of the frames and the sound of clips, by which copies are found."""
