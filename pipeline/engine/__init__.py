"""The engine: workers apply steps to parts, each step in a sandbox, in one process or as Ray actors."""
