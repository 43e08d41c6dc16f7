"""Streaming speech: sentences are spoken while the model still generates (paper: streaming with CosyVoice)."""
