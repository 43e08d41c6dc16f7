"""Ola as a model of lmms-eval, the harness: its tasks, their media and their options as requests to the model."""
