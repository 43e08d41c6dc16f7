"""Access to pictures and sound in unknown files: what they are, where to cut them, and what is in them."""
