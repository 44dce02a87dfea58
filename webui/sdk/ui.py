"""For `component_created`: what a plugin may use to put something on the page. Imported only while the page is built.

It is Gradio itself, so that a plugin names one version of one thing: the one this Easel runs.
"""

import gradio as gr

__all__ = ["gr"]
