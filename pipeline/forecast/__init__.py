"""A forecast of a run before it: hours, clips, tasks, tokens, time, bytes and money, each with an interval.

sampled ──── videos drawn by a seed, probed by `ingest` in a root of their own
ratios ───── what an hour of video gives and takes: from this root's earlier run, else from `rates.yaml`
forecast ─── both multiplied; stored in the root, and scored after the run
"""
