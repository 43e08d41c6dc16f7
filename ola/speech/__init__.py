"""Streamed speech: sentences are spoken while the model still writes (paper: streaming decoding with CosyVoice)."""
