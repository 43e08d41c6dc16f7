"""`ola remove` and `ola clean`: delete every trace of videos from a root, and what no plan needs.

targets.py finds the videos that are named; rows.py, media.py and sets.py take them out of the steps' rows, the parts'
tars and the shard sets; record.py writes down who asked; procedure.py has the order of these calls; leftovers.py
finds what `ola clean` may delete.
"""
