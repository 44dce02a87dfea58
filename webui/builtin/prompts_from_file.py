"""A1111's "Prompts from file or textbox": one run for every line. A line is a prompt, or options such as `--prompt "a house" --steps 30`."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field, ValidationError

from webui.sdk import Checkbox, Dropdown, Params, PictureRequest, Registries, RequestError, Run, Script, TextBox, hookimpl

OPTIONS = {
    "prompt": "prompt", "negative_prompt": "negative_prompt", "steps": "steps", "cfg_scale": "cfg_scale", "seed": "seed", "width": "width",
    "height": "height", "sampler_name": "sampler", "sd_model": "checkpoint", "batch_size": "batch_size", "n_iter": "batch_count",
}
"""A1111's names of what a line may set, and ours."""


class PromptParams(Params):
    """What the panel asks for."""

    text: Annotated[str, Field(max_length=1_000_000), TextBox(label="prompts_text", lines=5, info="prompts_text_info")] = ""
    iterate_seed: Annotated[bool, Checkbox(label="prompts_iterate_seed")] = False
    position: Annotated[str, Field(pattern="^(start|end)$"), Dropdown(label="prompts_position", choices=("start", "end"))] = "start"


class PromptsFromFile(Script[PromptParams]):
    """Runs the lines one after another; a line that was finished before an interrupt is not run again."""

    id = "prompts_from_file"
    title = "Prompts from file or textbox"
    Params = PromptParams

    def run(self, run: Run, request: PictureRequest, params: PromptParams) -> None:
        """One child per line. All lines are read before the first is run, so a mistake in the last one costs nothing."""
        children = list(make_requests(request.revise(script="", ext={}), params))
        if not children:
            raise RequestError("There is no prompt in the list.", field=f"ext.{self.id}.text", hint="Write one prompt on each line.")
        run.plan(children)
        for number, child in enumerate(children):
            run.generate(child, f"line-{number + 1}")


def make_requests(request: PictureRequest, params: PromptParams) -> Iterator[PictureRequest]:
    """The request of each line that is not empty. Raises `RequestError` naming the line."""
    seed = request.seed
    for number, line in enumerate(params.text.splitlines(), start=1):
        if not line.strip():
            continue
        changes = parse_line(line.strip(), number)
        if request.prompt and "prompt" in changes:
            parts = (changes["prompt"], request.prompt) if params.position == "start" else (request.prompt, changes["prompt"])
            changes["prompt"] = " ".join(parts)
        try:
            child = request.revise(**{"seed": seed} | changes)
        except ValidationError as error:
            raise RequestError(f"Line {number}: {error.errors()[0]['msg']}.", field="ext.prompts_from_file.text") from error
        yield child
        if params.iterate_seed:
            seed += child.batch_count * child.batch_size


def parse_line(line: str, number: int) -> dict[str, Any]:
    """A line as changes of the request. A line that does not begin with `--` is a prompt. Raises `RequestError`."""
    if not line.startswith("--"):
        return {"prompt": line}
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise RequestError(f"Line {number}: {error}.", field="ext.prompts_from_file.text", hint="Close the quotation mark.") from error
    changes: dict[str, Any] = {}
    while words:
        option = words.pop(0)
        name = OPTIONS.get(option.removeprefix("--"))
        if not option.startswith("--") or name is None or not words:
            hint = f"Known: {', '.join(f'--{known}' for known in OPTIONS)}; each is followed by a value."
            raise RequestError(f"Line {number}: “{option[:40]}” cannot be understood.", field="ext.prompts_from_file.text", hint=hint)
        value: Any = words.pop(0)
        if name == "prompt":
            while words and not words[0].startswith("--"):
                value += f" {words.pop(0)}"
        changes[name] = value
    return changes


@hookimpl
def register(registries: Registries) -> None:
    """Add the script."""
    registries.add_script(PromptsFromFile())
