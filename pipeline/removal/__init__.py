"""`ola remove`: taking every trace of some videos out of a root, and keeping them out.

targets.py finds the videos that are named; rows.py, media.py and sets.py take them out of the steps' rows, the parts'
tars and the shard sets; record.py writes down who asked; removing.py has the order of all this.
"""
