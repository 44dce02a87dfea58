"""Names and shapes of the tensors of published checkpoints, computed from the layouts' own source: CompVis' and Stability's UNet (`openaimodel.py`),
autoencoder (`model.py`) and encoders, `sd3-ref/mmdit.py`, `flux/model.py`. No weights, and none of Easel's own tables."""

from __future__ import annotations

from collections.abc import Sequence

Shapes = dict[str, tuple[int, ...]]


def below(prefix: str, shapes: Shapes) -> Shapes:
    """The same tensors below a prefix."""
    return {prefix + name: shape for name, shape in shapes.items()}


def _linear(name: str, out: int, into: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": (out, into)} | ({f"{name}.bias": (out,)} if bias else {})


def _conv(name: str, out: int, into: int, side: int = 3) -> Shapes:
    return {f"{name}.weight": (out, into, side, side), f"{name}.bias": (out,)}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def _attention(name: str, width: int, context: int) -> Shapes:
    return (
        _linear(f"{name}.to_q", width, width, False) | _linear(f"{name}.to_k", width, context, False) | _linear(f"{name}.to_v", width, context, False)
        | _linear(f"{name}.to_out.0", width, width)
    )


def _transformer(name: str, width: int, context: int, depth: int, linear: bool) -> Shapes:
    shapes = _norm(f"{name}.norm", width)
    for end in ("proj_in", "proj_out"):
        shapes |= _linear(f"{name}.{end}", width, width) if linear else _conv(f"{name}.{end}", width, width, 1)
    for block in (f"{name}.transformer_blocks.{number}" for number in range(depth)):
        shapes |= _attention(f"{block}.attn1", width, width) | _attention(f"{block}.attn2", width, context)
        shapes |= _linear(f"{block}.ff.net.0.proj", 8 * width, width) | _linear(f"{block}.ff.net.2", width, 4 * width)
        for norm in ("norm1", "norm2", "norm3"):
            shapes |= _norm(f"{block}.{norm}", width)
    return shapes


def _resnet(name: str, out: int, into: int, time: int) -> Shapes:
    shapes = _norm(f"{name}.in_layers.0", into) | _conv(f"{name}.in_layers.2", out, into) | _linear(f"{name}.emb_layers.1", out, time)
    shapes |= _norm(f"{name}.out_layers.0", out) | _conv(f"{name}.out_layers.3", out, out)
    return shapes | (_conv(f"{name}.skip_connection", out, into, 1) if into != out else {})


def unet(
    channels: int = 4, context: int = 768, *, width: int = 320, levels: Sequence[int] = (1, 2, 4, 4), depths: Sequence[int] = (1, 1, 1, 0),
    middle: int = 1, vector: int = 0, linear: bool = False,
) -> Shapes:
    """CompVis' UNet, two resnets a level."""
    time = 4 * width
    shapes = _linear("time_embed.0", time, width) | _linear("time_embed.2", time, time) | _conv("input_blocks.0.0", width, channels)
    if vector:
        shapes |= _linear("label_emb.0.0", time, vector) | _linear("label_emb.0.2", time, time)
    now, kept, block = width, [width], 1
    for level, (times, depth) in enumerate(zip(levels, depths, strict=True)):
        for _ in range(2):
            shapes |= _resnet(f"input_blocks.{block}.0", times * width, now, time)
            now = times * width
            if depth:
                shapes |= _transformer(f"input_blocks.{block}.1", now, context, depth, linear)
            kept.append(now)
            block += 1
        if level < len(levels) - 1:
            shapes |= _conv(f"input_blocks.{block}.0.op", now, now)
            kept.append(now)
            block += 1
    shapes |= _resnet("middle_block.0", now, now, time) | _transformer("middle_block.1", now, context, middle, linear)
    shapes |= _resnet("middle_block.2", now, now, time)
    block = 0
    for level, (times, depth) in reversed(list(enumerate(zip(levels, depths, strict=True)))):
        for number in range(3):
            shapes |= _resnet(f"output_blocks.{block}.0", times * width, now + kept.pop(), time)
            now = times * width
            if depth:
                shapes |= _transformer(f"output_blocks.{block}.1", now, context, depth, linear)
            if level and number == 2:
                shapes |= _conv(f"output_blocks.{block}.{2 if depth else 1}.conv", now, now)
            block += 1
    return shapes | _norm("out.0", now) | _conv("out.2", 4, now)


def _vae_block(name: str, out: int, into: int) -> Shapes:
    shapes = _norm(f"{name}.norm1", into) | _conv(f"{name}.conv1", out, into) | _norm(f"{name}.norm2", out) | _conv(f"{name}.conv2", out, out)
    return shapes | (_conv(f"{name}.nin_shortcut", out, into, 1) if into != out else {})


def vae(latent: int = 4, quant: bool = True) -> Shapes:
    """CompVis' KL autoencoder; Flux' and SD 3's have 16 channels and no convolution around the latents."""
    widths, shapes = (128, 256, 512, 512), {}
    for half, ends in (("encoder", (3, 2 * latent)), ("decoder", (latent, 3))):
        first = widths[0] if half == "encoder" else widths[-1]
        shapes |= _conv(f"{half}.conv_in", first, ends[0])
        now = first
        for level in range(4) if half == "encoder" else range(3, -1, -1):
            place = f"{half}.{'down' if half == 'encoder' else 'up'}.{level}"
            for number in range(2 if half == "encoder" else 3):
                shapes |= _vae_block(f"{place}.block.{number}", widths[level], now)
                now = widths[level]
            if half == "encoder" and level < 3:
                shapes |= _conv(f"{place}.downsample.conv", now, now)
            if half == "decoder" and level:
                shapes |= _conv(f"{place}.upsample.conv", now, now)
        for name in ("block_1", "block_2"):
            shapes |= _vae_block(f"{half}.mid.{name}", 512, 512)
        shapes |= _norm(f"{half}.mid.attn_1.norm", 512)
        for name in ("q", "k", "v", "proj_out"):
            shapes |= _conv(f"{half}.mid.attn_1.{name}", 512, 512, 1)
        shapes |= _norm(f"{half}.norm_out", now if half == "decoder" else 512) | _conv(f"{half}.conv_out", ends[1], now)
    return shapes | (_conv("quant_conv", 2 * latent, 2 * latent, 1) | _conv("post_quant_conv", latent, latent, 1) if quant else {})


def clip(width: int = 768, layers: int = 12) -> Shapes:
    """transformers' CLIP text encoder, as it was when the checkpoints were made."""
    shapes: Shapes = {"embeddings.position_ids": (1, 77), "embeddings.token_embedding.weight": (49408, width)}
    shapes["embeddings.position_embedding.weight"] = (77, width)
    for layer in (f"encoder.layers.{number}" for number in range(layers)):
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            shapes |= _linear(f"{layer}.self_attn.{name}", width, width)
        shapes |= _norm(f"{layer}.layer_norm1", width) | _norm(f"{layer}.layer_norm2", width)
        shapes |= _linear(f"{layer}.mlp.fc1", 4 * width, width) | _linear(f"{layer}.mlp.fc2", width, 4 * width)
    return shapes | _norm("final_layer_norm", width)


def open_clip(width: int, layers: int) -> Shapes:
    """open_clip's text tower: H has 1024 and 24, G 1280 and 32."""
    shapes: Shapes = {
        "positional_embedding": (77, width), "text_projection": (width, width), "logit_scale": (), "token_embedding.weight": (49408, width),
    }
    for layer in (f"transformer.resblocks.{number}" for number in range(layers)):
        shapes |= {f"{layer}.attn.in_proj_weight": (3 * width, width), f"{layer}.attn.in_proj_bias": (3 * width,)}
        shapes |= _linear(f"{layer}.attn.out_proj", width, width) | _norm(f"{layer}.ln_1", width) | _norm(f"{layer}.ln_2", width)
        shapes |= _linear(f"{layer}.mlp.c_fc", 4 * width, width) | _linear(f"{layer}.mlp.c_proj", width, 4 * width)
    return shapes | _norm("ln_final", width)


def flux(channels: int = 64, guidance: bool = True) -> Shapes:
    """Flux.1's transformer: dev and fill have a guidance input, schnell has none."""
    width, shapes = 3072, {}
    inputs = {"img_in": channels, "txt_in": 4096}
    for name, into in inputs.items():
        shapes |= _linear(name, width, into)
    for name, into in {"time_in": 256, "vector_in": 768, **({"guidance_in": 256} if guidance else {})}.items():
        shapes |= _linear(f"{name}.in_layer", width, into) | _linear(f"{name}.out_layer", width, width)
    for block in (f"double_blocks.{number}" for number in range(19)):
        for half in ("img", "txt"):
            shapes |= _linear(f"{block}.{half}_mod.lin", 6 * width, width) | _linear(f"{block}.{half}_attn.qkv", 3 * width, width)
            shapes |= {f"{block}.{half}_attn.norm.{name}_norm.scale": (128,) for name in ("query", "key")}
            shapes |= _linear(f"{block}.{half}_attn.proj", width, width) | _linear(f"{block}.{half}_mlp.0", 4 * width, width)
            shapes |= _linear(f"{block}.{half}_mlp.2", width, 4 * width)
    for block in (f"single_blocks.{number}" for number in range(38)):
        shapes |= _linear(f"{block}.modulation.lin", 3 * width, width) | _linear(f"{block}.linear1", 7 * width, width)
        shapes |= _linear(f"{block}.linear2", width, 5 * width) | {f"{block}.norm.{name}_norm.scale": (128,) for name in ("query", "key")}
    return shapes | _linear("final_layer.linear", 64, width) | _linear("final_layer.adaLN_modulation.1", 2 * width, width)


def sd3(blocks: int = 24, dual: bool = False) -> Shapes:
    """SD 3's transformer: 24 blocks, 3.5 medium with a second attention in the first 13, 3.5 large 38 blocks."""
    width = 64 * blocks
    shapes: Shapes = {"pos_embed": (1, 36864, width)} | _conv("x_embedder.proj", width, 16, 2) | _linear("context_embedder", width, 4096)
    for number in range(blocks):
        for half in ("x_block", "context_block"):
            place = f"joint_blocks.{number}.{half}"
            twice = dual and half == "x_block" and number < 13
            shapes |= _linear(f"{place}.adaLN_modulation.1", (9 if twice else 6) * width, width) | _linear(f"{place}.mlp.fc1", 4 * width, width)
            for attention in ("attn", "attn2") if twice else ("attn",):
                shapes |= _linear(f"{place}.{attention}.qkv", 3 * width, width) | _linear(f"{place}.{attention}.proj", width, width)
            shapes |= _linear(f"{place}.mlp.fc2", width, 4 * width)
    return shapes | _linear("final_layer.linear", 64, width)


UNETS = {
    "sd1": unet(), "sd2": unet(context=1024, linear=True),
    "sdxl": unet(context=2048, levels=(1, 2, 4), depths=(0, 2, 10), middle=10, vector=2816, linear=True),
    "sdxl-refiner": unet(context=1280, width=384, depths=(0, 4, 4, 0), middle=4, vector=2560, linear=True),
}
ENCODERS = {
    "sd1": below("cond_stage_model.transformer.text_model.", clip()), "sd2": below("cond_stage_model.model.", open_clip(1024, 24)),
    "sdxl": below("conditioner.embedders.0.transformer.text_model.", clip()) | below("conditioner.embedders.1.model.", open_clip(1280, 32)),
    "sdxl-refiner": below("conditioner.embedders.0.model.", open_clip(1280, 32)),
}


def checkpoint(family: str) -> Shapes:
    """A whole file of one of the UNet families."""
    return below("model.diffusion_model.", UNETS[family]) | below("first_stage_model.", vae()) | ENCODERS[family]


def averaged(shapes: Shapes) -> Shapes:
    """The averaged copy that training keeps: names without dots (`ldm/modules/ema.py`)."""
    return {f"model_ema.diffusion_model{name.replace('.', '')}": shape for name, shape in shapes.items()}
