"""Evaluation of models: suites of questions, answers as Parquet, scores, and comparisons."""
