"""The command line: A1111's spelling, clear refusals, ports."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from webui.ignored_flags import IGNORED
from webui.options import ROOT, can_open_browser, choose_port, parse_options
from webui.schema.errors import ConflictError, RequestError


def test_without_flags_everything_is_beside_app_py(monkeypatch):
    monkeypatch.setenv("CI", "1")
    options = parse_options([])
    assert (options.host, options.port, options.local) == ("127.0.0.1", None, True)
    assert (options.data_dir, options.models_dir, options.outputs_dir) == (ROOT, ROOT / "models", ROOT / "outputs")
    assert (options.theme, options.loglevel, options.browser, options.safe_mode, options.no_hashing) == ("auto", "INFO", False, False, False)
    assert options.ignored == ()


def test_every_flag_arrives(tmp_path):
    for name in ("model.safetensors", "key", "cert"):
        (tmp_path / name).touch()
    (tmp_path / "users").write_text("ann:1\nbob:2,cy:3\n")
    line = (
        f"--listen --port 8000 --data-dir {tmp_path}/new/data --models-dir {tmp_path} --outputs-dir {tmp_path}/out --ckpt-dir {tmp_path}"
        f" --ckpt {tmp_path}/model.safetensors --device-id 1 --use-cpu all --no-half --no-half-vae --xformers"
        f" --gradio-auth me:pass:word --gradio-auth-path {tmp_path}/users"
        f" --api-auth prog:key --theme dark --autolaunch --loglevel debug --tls-keyfile {tmp_path}/key --tls-certfile {tmp_path}/cert"
        " --disable-all-extensions --no-hashing"
    )
    options = parse_options(line.split())
    assert (options.host, options.port, options.local) == ("0.0.0.0", 8000, False)
    assert options.data_dir == tmp_path / "new" / "data"
    assert not options.data_dir.exists()  # reading the command line makes nothing
    assert (options.models_dir, options.outputs_dir) == (tmp_path, tmp_path / "out")
    assert (options.ckpt, options.ckpt_dir) == (tmp_path / "model.safetensors", tmp_path)
    device = options.device
    assert (device.device_id, device.use_cpu, device.precision, device.full_vae, device.xformers) == (1, True, "full", True, True)
    assert options.gradio_auth == (("me", "pass:word"), ("ann", "1"), ("bob", "2"), ("cy", "3"))
    assert options.api_auth == (("prog", "key"),)
    assert "word" not in repr(options)
    assert (options.theme, options.browser, options.loglevel, options.safe_mode, options.no_hashing) == ("dark", True, "DEBUG", True, True)
    assert (options.tls_keyfile, options.tls_certfile) == (tmp_path / "key", tmp_path / "cert")


def test_models_and_outputs_follow_the_data_folder(tmp_path):
    options = parse_options(["--data-dir", str(tmp_path)])
    assert (options.models_dir, options.outputs_dir) == (tmp_path / "models", tmp_path / "outputs")
    assert parse_options(["--data-dir", os.path.relpath(tmp_path)]).data_dir.is_absolute()


@pytest.mark.parametrize(("line", "precision"), [
    ("", "auto"), ("--precision autocast", "auto"), ("--precision half", "half"), ("--precision full", "full"), ("--no-half", "full"),
])
def test_precision(line, precision):
    assert parse_options(line.split()).device.precision == precision


@pytest.mark.parametrize(("line", "cpu"), [
    ("--use-cpu", True), ("--use-cpu all", True), ("--use-cpu sd interrogate", True), ("--use-cpu interrogate", False),
    ("--always-cpu", True), ("", False),
])
def test_use_cpu_reads_a1111s_parts(line, cpu):
    assert parse_options(line.split()).device.use_cpu is cpu


@pytest.mark.parametrize(("line", "field", "words"), [
    ("--prot 1", "--prot", "no flag --prot"),
    ("--port x", "--port", "0 (any free one) to 65535"),
    ("--port 65536", "--port", "65535"),
    ("--port -1", "--port", "0 (any free one) to 65535"),
    ("--port", None, "expected one argument"),
    ("--theme blue", None, "'blue'"),
    ("--precision half --no-half", "--precision", "contradict"),
    ("--device-id cuda", "--device-id", "whole number"),
    ("--gradio-auth me", "--gradio-auth", "name:password"),
    ("--gradio-auth me:", "--gradio-auth", "name:password"),
    ("--gradio-auth ,", "--gradio-auth", "is empty"),
    ("--api-auth :x", "--api-auth", "name:password"),
    ("--gradio-auth-path /nowhere/users", "--gradio-auth-path", "no file /nowhere/users"),
    ("--ckpt /nowhere/a.safetensors", "--ckpt", "no file /nowhere/a.safetensors"),
    ("--ckpt-dir /nowhere", "--ckpt-dir", "no folder /nowhere"),
    ("--data-dir /etc/passwd", "--data-dir", "is a file"),
    ("--data-dir /etc/passwd/data", "--data-dir", "/etc/passwd is a file"),
    ("--tls-keyfile /etc/passwd", "--tls-keyfile", "needs both"),
    ("a house", None, "“a” belongs to no flag"),
])
def test_wrong_values_are_one_clear_line(line, field, words):
    with pytest.raises(RequestError) as caught:
        parse_options(line.split())
    assert words in caught.value.message
    assert "\n" not in caught.value.message
    assert caught.value.field == field


def test_the_nearest_flag_is_named():
    with pytest.raises(RequestError) as caught:
        parse_options(["--xformer"])
    assert caught.value.hint == "Did you mean --xformers?"


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # the tests may run as root, who may write everywhere
    with pytest.raises(RequestError, match="cannot be made"):
        parse_options(["--data-dir", str(tmp_path / "new")])


def test_further_folders_of_pictures(tmp_path):
    names = [tmp_path / name for name in "abc"]
    for name in names:
        name.mkdir()
    first, second, third = map(str, names)
    options = parse_options(["--gradio-allowed-path", first, second, "--gradio-allowed-path", third, "--port", "5"])
    assert options.picture_folders == tuple(names)
    with pytest.raises(RequestError, match="there is no folder"):
        parse_options(["--gradio-allowed-path", str(tmp_path / "none")])


def test_further_folders_of_model_files(tmp_path: Path):
    """All of A1111's spellings of a kind are one list."""
    names = [tmp_path / name for name in ("vaes", "esrgan", "swinir")]
    for name in names:
        name.mkdir()
    vaes, esrgan, swinir = map(str, names)
    folders = parse_options([f"--vae-dir={vaes}", "--esrgan-models-path", esrgan, "--swinir-models-path", swinir]).file_folders
    assert (folders["vae"], folders["upscaler"], folders["lora"]) == ((names[0],), tuple(names[1:]), ())
    with pytest.raises(RequestError, match="--lyco-dir: there is no folder"):
        parse_options(["--lyco-dir", str(tmp_path / "none")])


def test_flags_of_a1111_without_a_meaning_here_are_named_and_skipped():
    line = "--lowram --opt-sdp-attention --ngrok token --vae-path=/x --port 5 --api --lowram"
    options = parse_options(line.split())
    assert options.port == 5
    names = [note.partition(":")[0] for note in options.ignored]
    assert names == ["--lowram", "--opt-sdp-attention", "--ngrok", "--vae-path", "--api"]
    assert all(note.partition(": ")[2] for note in options.ignored)


def test_no_flag_is_both_known_and_ignored(capsys):
    with pytest.raises(SystemExit):
        parse_options(["--help"])
    said = capsys.readouterr().out
    known = {word.strip(",[]") for word in said.split() if word.startswith(("--", "[--"))}
    assert {"--listen", "--port", "--xformers"} <= known
    assert not known & set(IGNORED)


def test_the_default_port_gives_way_and_a_given_one_does_not():
    first = choose_port("127.0.0.1", None)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first))
        taken.listen()
        assert choose_port("127.0.0.1", None) > first
        with pytest.raises(ConflictError) as caught:
            choose_port("127.0.0.1", first)
        assert f"Port {first} is already in use" in caught.value.message
        assert caught.value.hint is not None
        assert "leave --port out" in caught.value.hint
    assert choose_port("127.0.0.1", first) == first
    assert choose_port("127.0.0.1", 0) > 0


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(RequestError, match=r"Cannot listen on 192\.0\.2\.1:7860"):
        choose_port("192.0.2.1", 7860)
    with pytest.raises(RequestError, match="not an address of this machine"):
        choose_port("no-such-host.invalid", 7860)


@pytest.mark.parametrize(("environment", "platform", "opens"), [
    ({}, "linux", False), ({"DISPLAY": ":0"}, "linux", True), ({"WAYLAND_DISPLAY": "wayland-0"}, "linux", True),
    ({}, "darwin", True), ({}, "win32", True),
    ({"CI": "true", "DISPLAY": ":0"}, "linux", False), ({"SSH_CONNECTION": "1 2 3 4"}, "darwin", False),
])
def test_a_browser_is_opened_where_somebody_can_see_it(environment, platform, opens):
    assert can_open_browser(environment, platform) is opens


def test_no_browser_wins_over_a_display(monkeypatch):
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("SSH_CONNECTION", raising=False)
    assert parse_options([]).browser is True
    assert parse_options(["--no-browser"]).browser is False


def test_the_root_is_the_folder_of_app_py():
    assert (Path(ROOT) / "launch.py").is_file()
