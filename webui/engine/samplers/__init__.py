"""Samplers: one function each, reading like its paper. They know no model."""
