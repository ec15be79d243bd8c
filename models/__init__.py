"""What a generative model is and what it can do: families, capabilities, noise, bundles."""
