"""Flags of A1111's and Forge's command lines that mean nothing here, so that old COMMANDLINE_ARGS still start. Pure data: it knows no argparse."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Values = Literal["none", "one"]
"""How many values follow a flag."""


class IgnoredFlag(NamedTuple):
    """Why a flag is ignored, and how many values to skip with it."""

    reason: str
    values: Values


_REASONS: tuple[tuple[str, Values, str], ...] = (
    ("memory is managed by itself", "none",
     ("--lowram --always-normal-vram --always-offload-from-vram --pin-shared-memory --cuda-malloc --cuda-stream"
      " --disable-model-loading-ram-optimization --skip-load-model-at-start")),
    ("torch's scaled dot product attention is always used; --xformers is the other choice", "none",
     ("--opt-sdp-attention --opt-sdp-no-mem-attention --opt-sub-quad-attention --opt-split-attention --opt-split-attention-v1"
     " --opt-split-attention-invokeai --disable-opt-split-attention --force-enable-xformers --attention-split --attention-quad --attention-pytorch"
     " --disable-xformers --sage --flash --opt-channelslast")),
    ("torch's scaled dot product attention is always used", "one", "--sub-quad-q-chunk-size --sub-quad-kv-chunk-size --sub-quad-chunk-threshold"),
    ("the precision is chosen for the device; --precision and --no-half are the switches", "none",
     ("--upcast-sampling --unet-in-bf16 --unet-in-fp16 --unet-in-fp8-e4m3fn --unet-in-fp8-e5m2 --vae-in-fp16 --vae-in-bf16 --vae-in-fp32 --vae-in-cpu"
     " --clip-in-fp8-e4m3fn --clip-in-fp8-e5m2 --clip-in-fp16 --clip-in-fp32 --all-in-fp16 --all-in-fp32 --force-upcast-attention"
     " --disable-nan-check --pytorch-deterministic --fast-fp16 --fast-fp8")),
    ("this device is not supported; CUDA and the CPU are", "none", "--use-ipex --directml --use-zluda --use-directml"),
    ("the HTTP API is always on", "none", "--api --api-log"),
    ("the page is always served", "none", "--nowebui"),
    ("there is no public tunnel; use --listen with --gradio-auth", "none", "--share"),
    ("there is no public tunnel; use --listen with --gradio-auth", "one", "--ngrok --ngrok-region --ngrok-options"),
    ("serve it under a path with your reverse proxy", "one", "--subpath"),
    ("pages of other origins may not call this server", "one", "--cors-allow-origins --cors-allow-origins-regex"),
    ("the web server's own value is used", "one", "--timeout-keep-alive"),
    ("the certificate is given by --tls-keyfile and --tls-certfile", "none", "--disable-tls-verify --tls-selfsign"),
    ("code in a prompt or a pickle is never run", "none", "--allow-code --disable-safe-unpickle --enable-insecure-extension-access"),
    ("launch.py keeps the packages in order; --reinstall builds them anew", "none",
     ("--skip-prepare-environment --skip-torch-cuda-test --skip-python-version-check --skip-version-check --reinstall-torch --reinstall-xformers"
     " --update-check --update-all-extensions --no-download-sd-model --uv --uv-symlink")),
    ("this file or folder is not read; put its content below --models-dir or --data-dir", "one",
     ("--config --vae-path --gfpgan-dir --gfpgan-model --clip-models-path --localizations-dir --textual-inversion-templates-dir"
     " --forge-ref-a1111-home --forge-ref-comfy-home --forge-ref-comfy-yaml --model-ref")),
    ("settings live in the data folder", "one", "--ui-config-file --ui-settings-file --freeze-settings-in-sections --freeze-specific-settings"),
    ("settings live in the data folder", "none", "--freeze-settings --hide-ui-dir-config"),
    ("the page looks after this by itself", "none",
     ("--use-textbox-seed --no-progressbar-hiding --no-gradio-queue --gradio-queue --gradio-debug --ui-debug-mode"
     " --enable-console-prompts --disable-console-progressbars")),
    ("the page looks after this by itself", "one", "--gradio-img2img-tool --gradio-inpaint-tool"),
    ("this is for A1111's own maintenance", "none",
     "--api-server-stop --dump-sysinfo --log-startup --test-server --tests --no-tests --add-stop-route --do-not-download-clip --unload-gfpgan"),
    ("it is the setting filenames_max_length", "none", "--unix-filenames-sanitization"),
    ("it is the setting filenames_max_length", "one", "--filenames-max-length"),
    ("all jobs share one device; choose it with --device-id", "one", "--text-enc-device --vae-device --reserve-vram --gpu-device-id"),
)

IGNORED: dict[str, IgnoredFlag] = {flag: IgnoredFlag(reason, values) for reason, values, flags in _REASONS for flag in flags.split()}


def split_ignored(arguments: Sequence[str]) -> tuple[list[str], tuple[str, ...]]:
    """Take the ignored flags and their values out. Returns what is left, and one `flag: reason` for each that was taken."""
    left: list[str] = []
    notes: dict[str, str] = {}
    waiting = list(arguments)
    while waiting:
        token = waiting.pop(0)
        name, equals, _ = token.partition("=")
        flag = IGNORED.get(name)
        if flag is None:
            left.append(token)
            continue
        notes[name] = f"{name}: {flag.reason}"
        if flag.values == "one" and not equals and waiting and not waiting[0].startswith("-"):
            waiting.pop(0)
    return left, tuple(notes.values())
