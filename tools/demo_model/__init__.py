"""The demo model's recipe: a small procedurally drawn world, its captions, its judges, and the training of a Stable Diffusion 1.x model on it."""
