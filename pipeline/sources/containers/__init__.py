"""Sources inside containers: members of tars and zips, rows of Parquet and Arrow files, read in place."""
