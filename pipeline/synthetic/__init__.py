"""Synthetic films with known content (`world`), and ola-nano, the tiny Ola trained on these films (`nano`)."""
