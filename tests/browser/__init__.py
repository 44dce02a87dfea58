"""Tests that drive Chromium. A package, so that its one browser and its one server end with it."""
