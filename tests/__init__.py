"""Tests, one folder for each package; a package itself, so that Ray's workers can import toy steps."""
