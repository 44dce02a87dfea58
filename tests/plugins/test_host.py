"""Hooks: called one by one, in order, and a faulty plugin is named, then switched off. docs/hooks.md says what each hook is for."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from webui.plugins.host import FAULT_LIMIT, PluginHost
from webui.plugins.registry import Params, Registries
from webui.schema.errors import ConflictError, NotFoundError, RequestError
from webui.schema.event import CatalogChanged
from webui.schema.generation import Txt2Img
from webui.schema.sampling import SamplerSpec, ScheduleSpec, UpscalerSpec
from webui.sdk import Run, Script, hookimpl
from webui.services.events import EventBus, forward_to_plugins


@pytest.fixture
def faults() -> list[tuple[str, str]]:
    """What the pages were told."""
    return []


@pytest.fixture
def host(faults: list[tuple[str, str]]) -> PluginHost:
    """A host without plugins."""
    return PluginHost(Registries(), lambda plugin, message: faults.append((plugin, message)))


def plugin(**hooks: Any) -> SimpleNamespace:
    """A plugin of these functions."""
    return SimpleNamespace(**{name: hookimpl(function) for name, function in hooks.items()})


def test_register_adds_under_the_plugin_s_name(host: PluginHost) -> None:
    def register(registries: Registries) -> None:
        registries.add_sampler(SamplerSpec(name="Mine", function="m:f"))
        registries.add_scheduler(ScheduleSpec(name="mine", label="Mine"))
        registries.add_upscaler(UpscalerSpec(name="Mine", function="m:f"))
        registries.add_params("mine", Params)

    assert host.add("mine", plugin(register=register))
    assert host.registries.samplers.owner("Mine") == "mine"
    host.disable("mine")
    registries = host.registries
    assert "Mine" not in registries.samplers and "Mine" not in registries.schedulers and "mine" not in registries.params
    assert "Mine" not in registries.upscalers


def test_a_plugin_that_fails_to_register_leaves_nothing(host: PluginHost, faults: list[tuple[str, str]]) -> None:
    def register(registries: Registries) -> None:
        registries.add_sampler(SamplerSpec(name="Mine", function="m:f"))
        raise ValueError("half way")

    assert not host.add("mine", plugin(register=register))
    assert "Mine" not in host.registries.samplers and faults == [("mine", "register: ValueError: half way")]


def test_a_hook_that_does_not_exist_is_refused(host: PluginHost) -> None:
    def revise_requests(request: Txt2Img) -> None:
        """A misspelt hook."""

    assert not host.add("mine", plugin(revise_requests=revise_requests))


def test_revise_request_in_order_of_registration(host: PluginHost) -> None:
    host.add("a", plugin(revise_request=lambda request: request.revise(prompt=request.prompt + "a")))
    host.add("b", plugin(revise_request=lambda request: None))
    host.add("c", plugin(revise_request=lambda request: request.revise(prompt=request.prompt + "c")))
    assert host.revise("revise_request", "request", Txt2Img(prompt="-")).prompt == "-ac"


def test_revise_request_may_refuse_with_words(host: PluginHost) -> None:
    def revise_request(request: Txt2Img) -> None:
        raise RequestError("Not this one.", field="prompt")

    host.add("a", plugin(revise_request=revise_request))
    with pytest.raises(RequestError, match="Not this one"):
        host.revise("revise_request", "request", Txt2Img())


def test_image_ready_changes_the_picture(host: PluginHost) -> None:
    host.add("a", plugin(image_ready=lambda image, index: image.resize((index, 1))))
    image = host.revise("image_ready", "image", Image.new("RGB", (9, 9)), request=Txt2Img(), index=3)
    assert image.size == (3, 1)


def test_startup_and_shutdown(host: PluginHost, tmp_path: Path) -> None:
    heard: list[object] = []
    host.add("a", plugin(startup=lambda data_dir: heard.append(data_dir), shutdown=lambda: heard.append("end")))
    host.call("startup", data_dir=tmp_path)
    host.call("shutdown")
    assert heard == [tmp_path, "end"]


def test_event_published(host: PluginHost) -> None:
    heard: list[object] = []
    host.add("a", plugin(event_published=lambda event: heard.append(event)))
    bus = EventBus()
    bus.listen(forward_to_plugins(host))
    bus.publish(CatalogChanged())
    assert heard == [CatalogChanged()]


def test_component_created(host: PluginHost) -> None:
    heard: list[str] = []
    host.add("a", plugin(component_created=lambda elem_id: heard.append(elem_id)))
    host.call("component_created", elem_id="txt2img_width", component=object())
    assert heard == ["txt2img_width"]


def test_a_fault_is_named_and_the_others_go_on_until_the_third(host: PluginHost, faults: list[tuple[str, str]]) -> None:
    host.add("bad", plugin(revise_request=lambda request: request.nothing))
    host.add("good", plugin(revise_request=lambda request: request.revise(steps=3)))
    for count in range(1, FAULT_LIMIT + 2):
        assert host.revise("revise_request", "request", Txt2Img()).steps == 3
        assert len(faults) == min(count, FAULT_LIMIT)
    assert faults[0][0] == "bad" and "revise_request: AttributeError" in faults[0][1] and "switched off" in faults[-1][1]
    assert not host.infos["bad"].enabled and len(host.infos["bad"].faults) == FAULT_LIMIT


def test_has_is_false_when_nobody_listens(host: PluginHost) -> None:
    assert not host.has("image_ready")
    host.add("a", plugin(image_ready=lambda image: None))
    assert host.has("image_ready")


def test_names_are_never_taken_twice(host: PluginHost) -> None:
    host.registries.add_sampler(SamplerSpec(name="Euler", function="m:f"))
    with pytest.raises(ConflictError, match="already"):
        host.registries.add_sampler(SamplerSpec(name="Euler", function="m:g"))
    with pytest.raises(NotFoundError):
        host.registries.samplers.get("x")


def test_a_script_and_its_params_share_their_name(host: PluginHost) -> None:
    class Twice(Script[Params]):
        """Runs twice."""

        id = "twice"
        title = "Twice"

        def run(self, run: Run, request: Txt2Img, params: Params) -> None:
            """Run twice."""
            run.generate(request, "a")
            run.generate(request, "b")

    host.registries.add_script(Twice())
    assert host.registries.params.get("twice") is Params and host.registries.scripts.get("twice").title == "Twice"
