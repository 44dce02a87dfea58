"""The steps of a pass: encode, latents, decode, postprocess."""
