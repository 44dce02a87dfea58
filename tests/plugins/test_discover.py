"""Drop-in files: found, loaded one by one, a broken one listed with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from webui.plugins.discover import load_extensions, load_scripts
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries

SCRIPT = '''
from webui.sdk import Params, Script, Txt2Img

class Mine(Script):
    """A script."""
    id = "{id}"
    title = "Mine"
    def run(self, run, request, params):
        """Run."""
        run.generate(request, "0")
'''


@pytest.fixture
def host() -> PluginHost:
    """A host without plugins."""
    return PluginHost(Registries())


def extension(folder: Path, name: str, manifest: str, code: str = "") -> None:
    """An extension's folder."""
    (folder / name).mkdir()
    (folder / name / "extension.toml").write_text(manifest)
    (folder / name / "main.py").write_text(code)


def test_script_files(host: PluginHost, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT.format(id="mine"))
    (tmp_path / "_off.py").write_text("raise SystemError")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name")
    (tmp_path / "other-one.py").write_text(SCRIPT.format(id="other"))
    load_scripts(host, tmp_path)
    assert list(host.registries.scripts) == ["mine", "other"]
    assert not host.infos["broken"].enabled and "nothing_of_this_name" in host.infos["broken"].faults[0]
    assert "_off" not in host.infos and host.infos["mine"].load_seconds > 0


def test_extensions_with_hooks_and_scripts(host: PluginHost, tmp_path: Path) -> None:
    hook = "from webui.sdk import hookimpl\n@hookimpl\ndef revise_request(request):\n    return request.revise(steps=9)\n"
    code = hook + SCRIPT.format(id="theirs")
    extension(tmp_path, "theirs", 'name = "Theirs"\napi = 1\n', code)
    extension(tmp_path, "off.disabled", "api = 1", "raise SystemError")
    load_extensions(host, tmp_path)
    assert host.has("revise_request") and "theirs" in host.registries.scripts and list(host.infos) == ["theirs"]


@pytest.mark.parametrize(
    ("manifest", "reason"),
    [
        ("api = 99", "plugin API 99"),
        ("api = ", "Invalid value"),
        ('entry = "../x.py"', "not a file in that folder"),
        ('entry = "none.py"', "not a file"),
    ],
)
def test_a_wrong_manifest_is_named(host: PluginHost, tmp_path: Path, manifest: str, reason: str) -> None:
    (tmp_path / "x.py").write_text("")
    extension(tmp_path, "wrong", manifest)
    load_extensions(host, tmp_path)
    assert reason in host.infos["wrong"].faults[0]


def test_a_script_whose_name_is_taken_is_refused_whole(host: PluginHost, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(SCRIPT.format(id="same"))
    (tmp_path / "b.py").write_text(SCRIPT.format(id="same"))
    load_scripts(host, tmp_path)
    assert host.registries.scripts.owner("same") == "a" and not host.infos["b"].enabled


def test_no_folder_is_no_error(host: PluginHost, tmp_path: Path) -> None:
    load_extensions(host, tmp_path / "none")
    load_scripts(host, tmp_path / "none")
    assert host.infos == {}
