"""Pure data: what a request, a job, an event, a result, a model and a setting are. Knows no torch, no Gradio, no files."""
