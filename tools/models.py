"""Model files from the command line; `python launch.py models …` runs it in the environment. Needs no running server.

    list [--kind KIND]                    every model, with what it is
    info NAME [--kind KIND] [--json]      what one file is and says of itself
    convert SOURCE [--layout …] …         write a checkpoint anew: layout, dtype, EMA, prune, VAE
    merge A [B [C]] [--method …] …        merge checkpoints as A1111's merger does

A name is that of the list, with or without its ending, without its folder where only one is called so. New files go into models/Stable-diffusion
(`--models-dir` or `--data-dir`, before the command or behind it, name another place).
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from pydantic import ValidationError

from webui.options import parse_options
from webui.schema.errors import RequestError, WebuiError, field_errors
from webui.schema.model_work import Convert, Merge, ModelWork
from webui.services.assembly import make_folders, open_models
from webui.services.cards import FILE_KINDS, ModelCards
from webui.services.model_work import ModelWorkshop

FLAGS = {
    "primary_model_name": "A", "secondary_model_name": "B", "tertiary_model_name": "C", "interp_method": "--method", "custom_name": "--name",
    "bake_in_vae": "--vae", "discard_weights": "--discard", "config_source": "--config", "metadata_json": "--metadata", "source": "SOURCE",
    "checkpoint": "model", "name": "NAME",
}
"""Field → what the command line calls it."""


CALLED: Sequence[Callable[[dict[str, Any]], str]] = (
    lambda card: card["name"], lambda card: str(PurePosixPath(card["name"]).with_name(card["title"])), lambda card: card["title"],
)
"""What a model may be called: with its ending, without, and without its folder."""


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says. Returns the exit status; what the person can mend is said in one line."""
    parser = _parser()
    options = parser.parse_args(argv)
    try:
        flags = [word for name in ("data_dir", "models_dir") if (value := getattr(options, name)) for word in (f"--{name.replace('_', '-')}", value)]
        launch = parse_options(flags)
        with open_models(launch, make_folders(launch)) as (cards, workshop):
            return options.act(workshop if options.act in (convert, merge) else cards, options)
    except KeyboardInterrupt:
        print("\nStopped. Nothing was left behind.", file=sys.stderr)
        return 130
    except ValidationError as error:
        return _complain(WebuiError(field_errors(error)[0].message, field=field_errors(error)[0].field))
    except WebuiError as error:
        return _complain(error)


def _complain(error: WebuiError) -> int:
    where = f"{FLAGS.get(error.field, '--' + error.field.replace('_', '-'))}: " if error.field else ""
    print(f"{where}{error.message}{f' {error.hint}' if error.hint else ''}", file=sys.stderr)
    return 1


def list_models(shelf: ModelCards, options: argparse.Namespace) -> int:
    """Print a line for each model."""
    cards = [card for card in shelf.cards() if options.kind in (None, card["kind"])]
    if options.json:
        print(json.dumps(cards, indent=2, ensure_ascii=False))
        return 0
    for card in cards:
        facts = card.get("error") or card.get("base") or ""
        print(f"{card['kind']:<13} {card['size'] / 1e6:>9,.0f} MB  {card['name']}{f'  ({facts})' if facts else ''}")
    if not cards:
        print("There are no models.")
    return 0


def show_model(shelf: ModelCards, options: argparse.Namespace) -> int:
    """Print what is known of one model."""
    wanted = options.name
    cards = [card for card in shelf.cards() if card["kind"] == options.kind]
    names = next((found for called in CALLED if (found := [card["name"] for card in cards if called(card) == wanted])), [wanted])
    if len(names) > 1:
        raise RequestError(f"{len(names)} models are called “{wanted[:120]}”.", field="name", hint=f"Say which: {' or '.join(names[:5])}.")
    card = shelf.card(options.kind, names[0])
    if options.json:
        print(json.dumps(card, indent=2, ensure_ascii=False))
        return 0
    card |= {"size": f"{card['size'] / 1e6:,.1f} MB", "mtime": f"{datetime.fromtimestamp(card['mtime']):%Y-%m-%d %H:%M}"}
    for key, value in card.items():
        if value and key not in ("metadata", "unreadable" if value == card.get("error") else ""):
            print(f"{key + ':':<12} {json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value}")
    for key, text in card.get("metadata", {}).items():
        print(f"  {key}: {text if len(text) <= 120 else text[:117] + '…'}")
    return 0


def convert(workshop: ModelWorkshop, options: argparse.Namespace) -> int:
    """Write a checkpoint anew."""
    return _work(workshop, Convert.model_validate(_given(Convert, options)))


def merge(workshop: ModelWorkshop, options: argparse.Namespace) -> int:
    """Merge checkpoints."""
    given = _given(Merge, options)
    if options.metadata is not None:
        given["metadata_json"] = options.metadata
    if options.no_metadata:
        given["save_metadata"] = False
    if "interp_method" not in given:
        others = bool(options.secondary_model_name) + bool(options.tertiary_model_name)
        given["interp_method"] = ("No interpolation", "Weighted sum", "Add difference")[others]
    return _work(workshop, Merge.model_validate(given))


def _given(request: type[Merge | Convert], options: argparse.Namespace) -> dict[str, object]:
    return {name: value for name in request.model_fields if (value := getattr(options, name, None)) is not None}


def _work(workshop: ModelWorkshop, request: ModelWork) -> int:
    begun = time.monotonic()
    made = workshop.run(workshop.check(request), _progress(request))
    print(f"\r{made} ({time.monotonic() - begun:.1f} s)".ljust(60))
    return 0


def _progress(request: ModelWork) -> Callable[[float], None]:
    """One line that changes on a terminal, a line now and then elsewhere."""
    terminal, told = sys.stdout.isatty(), [0.0]

    def show(fraction: float) -> None:
        now = time.monotonic()
        if now - told[0] >= (0.1 if terminal else 10.0):
            told[0] = now
            print(f"{request.kind} {fraction:.0%}", end="\r" if terminal else "\n", flush=True)

    return show


def _parser() -> argparse.ArgumentParser:
    look = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="launch.py models", description=__doc__, formatter_class=look, allow_abbrev=False)
    parser.set_defaults(data_dir=None, models_dir=None)
    _add_folders(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    listing = commands.add_parser("list", help="every model", allow_abbrev=False)
    listing.add_argument("--kind", choices=("checkpoint", *FILE_KINDS))
    info = commands.add_parser("info", help="one model", allow_abbrev=False)
    info.add_argument("name", metavar="NAME")
    info.add_argument("--kind", choices=("checkpoint", *FILE_KINDS), default="checkpoint")
    for command, act in ((listing, list_models), (info, show_model)):
        command.add_argument("--json", action="store_true", help="as JSON")
        command.set_defaults(act=act)
    _add_convert(commands.add_parser("convert", help="write a checkpoint anew", allow_abbrev=False))
    _add_merge(commands.add_parser("merge", help="merge checkpoints", allow_abbrev=False))
    for command in commands.choices.values():
        _add_folders(command)
    return parser


def _add_folders(command: argparse.ArgumentParser) -> None:
    """Before the command's name or behind it; where it is not given, what stood before stays."""
    command.add_argument("--data-dir", default=argparse.SUPPRESS, help="the data folder, when it is not the program's own")
    command.add_argument("--models-dir", default=argparse.SUPPRESS, help="the models folder")


def _add_convert(command: argparse.ArgumentParser) -> None:
    command.add_argument("source", metavar="SOURCE")
    command.add_argument("--layout", choices=("one file", "diffusers folder"))
    command.add_argument("--ema", choices=("keep", "use", "drop"))
    command.add_argument("--prune", action="store_true", default=None, help="leave out what only training needs")
    command.set_defaults(act=convert)
    _add_output(command)


def _add_merge(command: argparse.ArgumentParser) -> None:
    for name, metavar, count in (("primary_model_name", "A", None), ("secondary_model_name", "B", "?"), ("tertiary_model_name", "C", "?")):
        command.add_argument(name, metavar=metavar, nargs=count)
    command.add_argument("--method", dest="interp_method", choices=("No interpolation", "Weighted sum", "Add difference"),
                         help="by default what fits the number of models")
    command.add_argument("--multiplier", type=float, metavar="M")
    command.add_argument("--blocks", help="25 numbers with commas (SDXL: 19)")
    command.add_argument("--base", type=float, help="M outside the UNet, with --blocks")
    command.add_argument("--discard", dest="discard_weights", metavar="REGEX")
    command.add_argument("--config", dest="config_source", choices=("A, B or C", "B", "C", "Don't"))
    command.add_argument("--metadata", metavar="JSON", help="added to the file's metadata")
    command.add_argument("--no-metadata", action="store_true", help="write no metadata at all")
    command.set_defaults(act=merge)
    _add_output(command)


def _add_output(command: argparse.ArgumentParser) -> None:
    command.add_argument("--name", dest="custom_name", help="of the new file, below models/Stable-diffusion")
    command.add_argument("--dtype", choices=("as stored", "float16", "bfloat16", "float32"))
    command.add_argument("--vae", dest="bake_in_vae", metavar="NAME", help="put this VAE into it")
    command.add_argument("--replace", action="store_true", default=None, help="replace a file of that name")


if __name__ == "__main__":
    sys.exit(main())
