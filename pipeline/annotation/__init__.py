"""Annotation: the model that answers, and the rules that read and check what models and people wrote."""
