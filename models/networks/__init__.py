"""Layers and likelihoods that several families share."""
