"""Prompts to tokens. Torch-free."""
