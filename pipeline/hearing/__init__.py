"""Find speech, music and sound events in a sound: models that score windows, and spans made of the scores."""
