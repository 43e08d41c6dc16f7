"""Technical scores of a clip: of its frames (`picture`), changes between them (`changes`) and its sound (`sound`)."""
