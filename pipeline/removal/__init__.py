"""`ola remove` and `ola clean`: delete every trace of videos from a root, and files that no plan needs.

targets.py finds the named videos; rows.py, media.py and sets.py remove them from the steps' rows, the parts' tars and
the shard sets; record.py records who asked; procedure.py orders these calls; leftovers.py finds what `ola clean` may
delete.
"""
