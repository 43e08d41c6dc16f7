"""Models measured: suites of questions in, answers as Parquet and scores out; then models side by side."""
