"""Every hook, one sentence each. A plugin implements one by a function of the same name marked `@hookimpl`, naming only the arguments it wants.

docs/hooks.md shows each with an example; a hook without a test and a page fails the build. Those of the loop speak in tensors and in the dataclasses
of `webui.sdk.engine`, which are not named here because this module needs no torch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pluggy

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from webui.plugins.registry import Registries
    from webui.schema.event import Event
    from webui.schema.request import PictureRequest

PROJECT = "easel"
hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register(registries: Registries) -> None:
    """Add samplers, schedules, upscalers, scripts or request parameters; called once when the plugin is enabled."""


@hookspec
def startup(data_dir: Path) -> None:
    """The server is about to answer; `data_dir` is the plugin's own folder."""


@hookspec
def shutdown() -> None:
    """The server is about to end."""


@hookspec
def revise_request(request: PictureRequest) -> PictureRequest | None:
    """Return a changed request before it is queued, or None to leave it; raise `WebuiError` to refuse it with words for the person."""


@hookspec
def before_step(latents: Any, state: Any) -> Any:
    """Return changed latents before the first model call of a step, or None to leave them."""


@hookspec
def model_input(inputs: Any, state: Any) -> Any:
    """Return other latents, noise level or prompts for this one model call, or None to leave them; the sampler does not see the change."""


@hookspec
def after_output(output: Any, state: Any) -> Any:
    """Return changed answers of the model, prompt and negative prompt apart, or None to leave them."""


@hookspec
def after_guidance(guided: Any, output: Any, state: Any) -> Any:
    """Return another guided answer, or None to leave it; `output` has the answers that it was made of."""


@hookspec
def after_step(latents: Any, state: Any) -> Any:
    """Return changed latents at the end of a step, or None to leave them; after the last step they are what is decoded."""


@hookspec
def image_ready(image: Image.Image, request: PictureRequest, index: int) -> Image.Image | None:
    """Return a changed picture before it is saved, or None to leave it; runs on the worker thread, `index` counts within the job."""


@hookspec
def event_published(event: Event) -> None:
    """Any event that open pages get, previews excepted: a job that changed, a picture that is safely on disk."""


@hookspec
def component_created(elem_id: str, component: Any) -> None:
    """A form component was made, in A1111's order; called while the page is built, so more components can be placed right here."""
