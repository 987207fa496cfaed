"""What the training scripts share: the resumable run, the losses and critics of generators, recipes, an optimiser."""
