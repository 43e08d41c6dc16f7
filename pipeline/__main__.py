"""`python -m pipeline`: the command line `ola`, for places where no console script is installed (Ray jobs)."""

from pipeline.cli import main

main()
