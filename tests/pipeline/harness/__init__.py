"""Tests of Ola as a model of lmms-eval."""
