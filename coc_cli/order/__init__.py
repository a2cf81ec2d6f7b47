"""Experiments on the order of stages."""
