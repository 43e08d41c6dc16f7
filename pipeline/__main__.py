"""Run the command line `ola` as `python -m pipeline`, if no console script is installed (Ray jobs)."""

from pipeline.cli import main

main()
