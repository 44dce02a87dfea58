"""What other programs write into pictures, put into A1111's words: ComfyUI graphs, InvokeAI and NovelAI JSON. What has no words is commented."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

COMFY_SAMPLERS = {
    "euler": "Euler", "euler_ancestral": "Euler a", "heun": "Heun", "heunpp2": "HeunPP2", "dpm_2": "DPM2", "dpm_2_ancestral": "DPM2 a", "lms": "LMS",
    "dpm_fast": "DPM fast", "dpm_adaptive": "DPM adaptive", "dpmpp_2s_ancestral": "DPM++ 2S a", "dpmpp_sde": "DPM++ SDE",
    "dpmpp_sde_gpu": "DPM++ SDE", "dpmpp_2m": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE", "dpmpp_2m_sde_gpu": "DPM++ 2M SDE",
    "dpmpp_2m_sde_heun": "DPM++ 2M SDE Heun", "dpmpp_3m_sde": "DPM++ 3M SDE", "dpmpp_3m_sde_gpu": "DPM++ 3M SDE", "ddpm": "DDPM", "lcm": "LCM",
    "ipndm": "IPNDM", "ipndm_v": "IPNDM_V", "deis": "DEIS", "ddim": "DDIM", "uni_pc": "UniPC",
}  # fmt: skip
COMFY_SCHEDULES = {
    "normal": "Normal", "karras": "Karras", "exponential": "Exponential", "sgm_uniform": "SGM Uniform", "simple": "Simple", "ddim_uniform": "DDIM",
    "beta": "Beta", "kl_optimal": "KL Optimal",
}  # fmt: skip
INVOKE_SAMPLERS = {
    "euler": "Euler", "euler_a": "Euler a", "k_euler": "Euler", "k_euler_a": "Euler a", "heun": "Heun", "lms": "LMS", "k_lms": "LMS",
    "kdpm_2": "DPM2", "kdpm_2_a": "DPM2 a", "dpmpp_2s": "DPM++ 2S a", "dpmpp_2m": "DPM++ 2M", "k_dpmpp_2": "DPM++ 2M", "dpmpp_2m_sde": "DPM++ 2M SDE",
    "dpmpp_sde": "DPM++ SDE", "dpmpp_3m": "DPM++ 3M SDE", "ddim": "DDIM", "ddpm": "DDPM", "deis": "DEIS", "unipc": "UniPC", "lcm": "LCM",
}  # fmt: skip
NOVELAI_SAMPLERS = {
    "k_euler_ancestral": "Euler a", "k_euler": "Euler", "k_lms": "LMS", "k_heun": "Heun", "k_dpm_2": "DPM2", "k_dpm_2_ancestral": "DPM2 a",
    "k_dpmpp_2m": "DPM++ 2M", "k_dpmpp_sde": "DPM++ SDE", "k_dpmpp_2s_ancestral": "DPM++ 2S a", "k_dpmpp_2m_sde": "DPM++ 2M SDE", "ddim": "DDIM",
    "plms": "PLMS",
}  # fmt: skip

Found = tuple[str, str, dict[str, object], list[str]]
"""Prompt, negative prompt, fields of the line, comments."""


def load_object(text: object) -> dict[str, Any] | None:
    """A JSON object, or None for anything else. Never raises."""
    if not isinstance(text, str | bytes):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _size(width: object, height: object) -> str | None:
    whole = all(isinstance(side, int) and not isinstance(side, bool) and 0 < side < 100_000 for side in (width, height))
    return f"{width}x{height}" if whole else None


def _number(value: object) -> int | float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None


class _Graph:
    """ComfyUI's `prompt`: node id → class and inputs; a link is `[node id, output number]`."""

    def __init__(self, nodes: Mapping[str, Any]) -> None:
        self.nodes = {key: node for key, node in nodes.items() if isinstance(node, dict) and isinstance(node.get("inputs"), dict)}

    def target(self, value: object) -> str | None:
        """The node that a link comes from."""
        return str(value[0]) if isinstance(value, list) and len(value) == 2 and str(value[0]) in self.nodes else None

    def inputs(self, key: str) -> dict[str, Any]:
        return self.nodes[key]["inputs"]

    def kind(self, key: str) -> str:
        return str(self.nodes[key].get("class_type", ""))

    def upstream(self, value: object, fits: Callable[[dict[str, Any]], bool], names: tuple[str, ...]) -> str | None:
        """The nearest node, along links in inputs of these names, whose inputs fit."""
        seen: set[str] = set()
        waiting = [value]
        while waiting:
            key = self.target(waiting.pop(0))
            if key is None or key in seen:
                continue
            seen.add(key)
            inputs = self.inputs(key)
            if fits(inputs):
                return key
            waiting += [inputs[name] for name in names if name in inputs]
        return None

    def scalar(self, value: object, names: tuple[str, ...]) -> object:
        """A value typed in, or that of the primitive node it is linked to."""
        for _ in range(len(self.nodes) + 1):
            key = self.target(value)
            if key is None:
                return value
            value = next((self.inputs(key)[name] for name in names if name in self.inputs(key)), None)
        return None

    def text(self, value: object) -> str:
        """The prompt behind a conditioning link."""
        names = ("text", "text_g", "t5xxl", "clip_l")
        links = ("conditioning", "conditioning_1", "conditioning_to", "positive")
        key = self.upstream(value, lambda inputs: any(name in inputs for name in names), links)
        if key is None:
            return ""
        inputs = self.inputs(key)
        found = self.scalar(next(inputs[name] for name in names if name in inputs), ("text", "value", "string", "prompt"))
        return found if isinstance(found, str) else ""


def read_comfyui(nodes: Mapping[str, Any]) -> Found | None:
    """The graph of a plain picture: a KSampler with its prompts, latent and checkpoint. None when there is no such node."""
    graph = _Graph(nodes)
    samplers = [key for key in graph.nodes if {"positive", "negative", "latent_image"} <= graph.inputs(key).keys()]
    if not samplers:
        return None
    empty = ("samples", "latent_image", "pixels", "image", "latent")
    latents = {key: graph.upstream(graph.inputs(key)["latent_image"], lambda found: {"width", "height"} <= found.keys(), empty) for key in samplers}
    direct = [key for key in samplers if latents[key] and graph.target(graph.inputs(key)["latent_image"]) == latents[key]]
    chosen = (direct or samplers)[0]
    inputs, latent = graph.inputs(chosen), latents[chosen]
    comments = [] if len(samplers) == 1 else [f"The graph has {len(samplers)} samplers; only the first pass was read."]
    loader = graph.upstream(inputs.get("model"), lambda found: "ckpt_name" in found or "unet_name" in found, ("model",))
    names = [node["inputs"]["lora_name"] for node in graph.nodes.values() if isinstance(node["inputs"].get("lora_name"), str)]
    if names:
        comments.append(f"LoRA files of the graph were not read: {', '.join(names)}.")
    sampler, schedule = str(inputs.get("sampler_name", "")), str(inputs.get("scheduler", ""))
    model = graph.inputs(loader) if loader else {}
    name = model.get("ckpt_name") or model.get("unet_name")
    size = [graph.scalar(graph.inputs(latent)[side], ("value", side)) for side in ("width", "height")] if latent else [None, None]
    if _number(inputs.get("denoise")) not in (None, 1):
        comments.append(f"The sampler ran with denoise {inputs['denoise']}, which is not read.")
    fields: dict[str, object] = {
        "Steps": _number(graph.scalar(inputs.get("steps"), ("value", "steps", "int"))),
        "Sampler": COMFY_SAMPLERS.get(sampler, sampler) or None,
        "Schedule type": COMFY_SCHEDULES.get(schedule, schedule) or None,
        "CFG scale": _number(graph.scalar(inputs.get("cfg"), ("value", "cfg", "float"))),
        "Seed": _number(graph.scalar(inputs.get("seed", inputs.get("noise_seed")), ("value", "seed", "int"))),
        "Size": _size(*size),
        "Model": _stem(name) if isinstance(name, str) else None,
        "RNG": "CPU",
    }
    return graph.text(inputs["positive"]), graph.text(inputs["negative"]), fields, comments


def _stem(path: str) -> str:
    name = path.replace("\\", "/").rsplit("/", 1)[-1]
    return name.rsplit(".", 1)[0] if "." in name else name


def read_invokeai(data: Mapping[str, Any]) -> Found | None:
    """`invokeai_metadata` (3 and later), or the older `sd-metadata`. None when neither has a prompt."""
    comments = ["InvokeAI writes weights as + and −; they are text here."]
    if isinstance(data.get("image"), dict):
        image = data["image"]
        prompt = image.get("prompt")
        if isinstance(prompt, list) and prompt and isinstance(prompt[0], dict):
            prompt = prompt[0].get("prompt")
        data = {**image, "positive_prompt": prompt, "scheduler": image.get("sampler"), "model": {"name": data.get("model_weights")}}
    prompt, negative = data.get("positive_prompt"), data.get("negative_prompt")
    if not isinstance(prompt, str):
        return None
    model = data["model"] if isinstance(data.get("model"), dict) else {}
    scheduler = str(data.get("scheduler") or "")
    karras = scheduler.endswith("_k") and scheduler not in INVOKE_SAMPLERS
    sampler = INVOKE_SAMPLERS.get(scheduler.removesuffix("_k") if karras else scheduler, scheduler)
    name = model.get("name") or model.get("model_name")
    if data.get("loras"):
        comments.append("LoRA files were not read.")
    skip = _number(data.get("clip_skip"))
    fields: dict[str, object] = {
        "Steps": _number(data.get("steps")), "Sampler": sampler or None, "Schedule type": "Karras" if karras else None,
        "CFG scale": _number(data.get("cfg_scale")), "Seed": _number(data.get("seed")), "Size": _size(data.get("width"), data.get("height")),
        "Model": name if isinstance(name, str) else None, "Clip skip": int(skip) + 1 if skip else None, "RNG": "CPU",
    }  # fmt: skip
    return prompt, negative if isinstance(negative, str) else "", fields, comments


def read_novelai(data: Mapping[str, Any], size: tuple[int, int] | None) -> Found | None:
    """NovelAI's text chunks (or its stealth JSON): `Description` is the prompt, `Comment` JSON with the rest. None when they are not there."""
    rest = load_object(data.get("Comment"))
    if rest is None:
        return None
    prompt = data.get("Description") if isinstance(data.get("Description"), str) else rest.get("prompt")
    negative = rest.get("uc")
    fields: dict[str, object] = {
        "Steps": _number(rest.get("steps")), "Sampler": NOVELAI_SAMPLERS.get(str(rest.get("sampler")), "Euler a"),
        "CFG scale": _number(rest.get("scale")), "Seed": _number(rest.get("seed")),
        "Size": _size(rest.get("width"), rest.get("height")) or (_size(*size) if size else None),
        "Clip skip": 2, "ENSD": 31337,
    }  # fmt: skip
    comments = ["NovelAI writes weights as { } ; they are text here."]
    return str(prompt or ""), negative if isinstance(negative, str) else "", fields, comments
