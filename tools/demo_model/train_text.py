"""Trains the demo model's text encoder before the UNet: read a caption, name what it says, slot by slot.

    python tools/demo_model/train_text.py --folder FOLDER [--steps N] [--minutes M]

Writes FOLDER/text.pt and FOLDER/text.jsonl. Every position from the end mark on must know the whole caption, because those are most of what the
UNet's attention sees. Only the rows of the embedding table that captions use are trained; the others keep their small random start, so an unknown
word says next to nothing. Nothing is drawn here.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers import CLIPTextModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.demo_model.captions import SLOTS, write_caption
from tools.demo_model.loop import Limits, load_state, save_atomically, train_loop
from tools.demo_model.scene import make_scene
from tools.demo_model.sizes import DEMO
from webui.backend.families.sd_config import TextConfig
from webui.backend.families.sd_modules import build_text_encoder
from webui.engine.prompt.tokens import END, START, encode

RATE = 1.5e-3
LENGTH = 40
"""Tokens of a training sequence; no caption is longer. The end marks stand at random places up to 77, so that all positions are learned."""

CLASSES = [len(values) + 1 for values in SLOTS.values()]


def tokenize(texts: list[str], length: int = 77) -> Tensor:
    """(texts, length) token numbers: start, text, then end marks only. Raises `ValueError` for a text that does not fit."""
    rows = [encode(text) for text in texts]
    if max(len(row) for row in rows) > length - 2:
        raise ValueError(f"A caption is longer than {length - 2} tokens.")
    return torch.tensor([[START, *row, *[END] * (length - 1 - len(row))] for row in rows])


class TextTraining:
    """The text encoder, a linear head a slot, and their optimizer."""

    def __init__(self, folder: Path, config: TextConfig = DEMO.text_encoder, batch: int = 128, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.file, self.log, self.batch, self.device = folder / "text.pt", folder / "text.jsonl", batch, torch.device(device)
        self.encoder: CLIPTextModel = build_text_encoder(config)
        self.heads = nn.Linear(config.width, sum(CLASSES))
        self.first = 0
        state = load_state(self.file)
        if state:
            self.encoder.load_state_dict(state["encoder"])
            self.heads.load_state_dict(state["heads"])
            self.first = state["step"]
        parts: tuple[nn.Module, ...] = (self.encoder, self.heads)
        for module in parts:
            module.to(self.device)  # pyright: ignore[reportArgumentType]
        rest = [value for key, value in self.encoder.named_parameters() if "token_embedding" not in key]
        self.optimizer = torch.optim.AdamW([*rest, *self.heads.parameters()], lr=RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        embedding = self.encoder.get_input_embeddings()
        assert isinstance(embedding, nn.Embedding)
        embedding.sparse = True
        self.words = torch.optim.SparseAdam([embedding.weight], lr=RATE)
        if state:
            self.optimizer.load_state_dict(state["optimizer"])
            self.words.load_state_dict(state["words"])

    def run(self, limits: Limits) -> int:
        """Train until a limit; see `train_loop`."""
        self._total = limits.steps
        return train_loop(self.first, limits, self._step, self._save, self.log)

    def captions(self, step: int) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (batch, LENGTH), their positions, and labels (batch, slots) of one step's captions."""
        luck = random.Random(step)
        written = [write_caption(make_scene(luck.randrange(1 << 40)), luck) for _ in range(self.batch)]
        tokens = tokenize([caption.text for caption in written], LENGTH)
        positions = torch.arange(LENGTH).repeat(self.batch, 1)
        for row, ended in zip(positions, (tokens == END).float().argmax(1).tolist(), strict=True):
            ends = range(ended + 1, 77)
            row[ended + 1 :] = torch.tensor(sorted(luck.sample(ends, LENGTH - ended - 1)))
        return tokens, positions, torch.tensor([caption.labels for caption in written])

    def _step(self, step: int) -> dict[str, float]:
        tokens, positions, labels = (tensor.to(self.device) for tensor in self.captions(step))
        rate = RATE * min(1.0, (step + 1) / 50) * max(0.03, 1 - step / self._total)
        for group in self.optimizer.param_groups + self.words.param_groups:
            group["lr"] = rate
        hidden = self.encoder(tokens, position_ids=positions).last_hidden_state
        ends = tokens == END
        logits = self.heads(hidden[ends])
        targets = labels.repeat_interleave(ends.sum(1), dim=0)
        parts = logits.split(CLASSES, dim=1)
        losses = [functional.cross_entropy(part, targets[:, slot]) for slot, part in enumerate(parts)]
        right = torch.stack([part.argmax(1) == targets[:, slot] for slot, part in enumerate(parts)]).float()
        loss = torch.stack(losses).sum()
        self.optimizer.zero_grad(set_to_none=True)
        self.words.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()
        self.words.step()
        return {"loss": loss.item(), "right": right.mean().item(), "all_right": right.min(0).values.mean().item()}

    def _save(self, step: int) -> None:
        save_atomically(self.file, {
            "encoder": self.encoder.state_dict(), "heads": self.heads.state_dict(), "optimizer": self.optimizer.state_dict(),
            "words": self.words.state_dict(), "step": step,
        })


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Trains the demo model's text encoder.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    training = TextTraining(options.folder, device=options.device)
    print(f"{training.run(Limits(options.steps, options.minutes))} steps", flush=True)


if __name__ == "__main__":
    main()
