"""Checks of what a run needs: GPUs, the machine, the store, the cluster, packages and programs.

`needs.py` reads from the settings what a run needs; each other module holds the checks of one family, whose findings
`ola doctor` prints. `upfront.py` makes the cheap ones before each run.
"""
