"""What the numbers of a network mean: distributions, their noise and their gradients."""
