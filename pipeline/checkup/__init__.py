"""Check the requirements of a run: GPUs, the machine, the store, the cluster, packages and programs.

`needs.py` derives the requirements from the settings. Each other module holds one group of checks, whose findings `ola
doctor` prints. `upfront.py` runs the cheap checks before each run.
"""
