"""Easel: a diffusion web UI. `webui.main` puts the parts together; docs/architecture.md tells the story."""

__version__ = "0.1.0"
