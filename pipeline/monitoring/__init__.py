"""Monitoring of a run: live progress and metrics for Prometheus."""
