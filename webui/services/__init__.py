"""The application, knowing neither HTTP nor Gradio: studio (the one door), queue, worker, library, outputs, infotext, settings, events."""
