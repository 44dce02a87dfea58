"""The one way to wire an event: outside Gradio's queue (our own queue runs the jobs; an open tab holds no connection), not part of Gradio's public
API or MCP, without Gradio's progress overlay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def listen(trigger: Callable[..., Any], action: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Call `action` (or only the `js` of the options) at the trigger. Returns Gradio's dependency, to chain `.then`."""
    return trigger(action, **({"queue": False, "api_visibility": "private", "show_progress": "hidden"} | options))
