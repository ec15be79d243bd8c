"""The commands of `latentd`, one file each. Torch is imported inside them, not with them."""
