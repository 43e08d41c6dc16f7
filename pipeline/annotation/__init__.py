"""Annotation: the annotating model, speech recognition, and rules that parse and check text of models and people."""
