"""The synthetic world of small clips whose truth is known, and ola-nano, the tiny Ola that is trained on it."""
