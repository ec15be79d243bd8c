"""Offline: data sets, learning algorithms, the loop, recipes, the command line."""
