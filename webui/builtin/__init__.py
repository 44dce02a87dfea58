"""Easel's own features as plugins of its own host. They import `webui.sdk` and nothing else of Easel."""

from webui.builtin import prompts_from_file

BUILTINS = (prompts_from_file,)
