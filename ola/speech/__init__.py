"""Speech out, sentence by sentence while the model still writes (paper: streaming decoding with CosyVoice)."""
