"""Our HTTP API and event stream (docs/api.md). Bodies are schema types; it knows the studio and nothing below it."""
