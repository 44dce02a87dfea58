"""The rules of tests/guards/rules.py, applied to the tree. CONTRIBUTING.md says what to do when one of them complains."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import LONGEST
from tests.guards import exceptions, rules

ROOT = Path(__file__).resolve().parents[2]
PARTS = ("webui", "tools", "bench", "extensions", "scripts")
PRODUCT = sorted([ROOT / "launch.py", ROOT / "app.py", *(path for part in PARTS for path in (ROOT / part).rglob("*.py"))])
TESTS = sorted((ROOT / "tests").rglob("*.py"))
WEB = ROOT / "webui" / "ui" / "web"


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def _offences(rule: Callable[[str], list[str]], paths: list[Path]) -> list[str]:
    assert paths
    return [f"{_name(path)}:{offence}" for path in paths for offence in rule(path.read_text(encoding="utf-8"))]


def _assert_none(offences: list[str]) -> None:
    assert not offences, "\n" + "\n".join(offences)


def _tracked() -> list[Path]:
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_files_are_short():
    long = [path for path in PRODUCT if rules.long_file(path.read_text(encoding="utf-8"))]
    assert {_name(path) for path in long} == set(exceptions.LONG_FILES)
    _assert_none(_offences(lambda text: rules.long_file(text, rules.FILE_LINES_HARD), PRODUCT + TESTS))


def test_functions_are_short():
    found = _offences(rules.long_functions, PRODUCT)
    names = {(offence.split(":")[0], offence.split(": ")[1].split()[0]) for offence in found}
    assert names == set(exceptions.LONG_FUNCTIONS), found
    _assert_none(_offences(lambda text: rules.long_functions(text, rules.FUNCTION_LINES_HARD), PRODUCT + TESTS))


@pytest.mark.parametrize("rule", [rules.many_positionals, rules.globals_used, rules.undocumented, rules.unannotated])
def test_signatures_and_docstrings(rule):
    _assert_none(_offences(rule, PRODUCT))


def test_imports_inside_functions_have_a_listed_reason():
    found = {(_name(path), module) for path in PRODUCT for module in rules.late_imports(path.read_text(encoding="utf-8"))}
    assert found == set(exceptions.LATE_IMPORTS)


def test_everything_is_caught_only_at_the_edges():
    found = {_name(path): lines for path in PRODUCT if (lines := rules.broad_excepts(path.read_text(encoding="utf-8")))}
    assert set(found) == set(exceptions.BROAD_EXCEPTS), found


def test_modules_have_names_that_say_something():
    parts = {part for path in PRODUCT for part in (*path.relative_to(ROOT).parts[:-1], path.stem)}
    assert parts & rules.VAGUE_NAMES == set()


def test_no_test_is_skipped_and_every_test_claims_something():
    paths = [path for path in TESTS if "guards" not in path.parts]
    _assert_none(_offences(rules.skipped_tests, paths))
    _assert_none(_offences(rules.tests_without_a_claim, paths))


def test_the_longest_tests_are_there():
    assert [name for name in LONGEST if not (ROOT / "tests" / name).is_file()] == []


def test_every_hook_has_a_test_and_a_section():
    hooks = rules.hook_names((ROOT / "webui" / "plugins" / "hookspecs.py").read_text(encoding="utf-8"))
    assert "image_ready" in hooks
    tests = "\n".join(path.read_text(encoding="utf-8") for path in TESTS if "guards" not in path.parts)
    headings = re.findall(r"^#+ .*", (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert [hook for hook in hooks if not re.search(rf"\b{hook}\b", tests)] == []
    assert [hook for hook in hooks if not any(re.search(rf"\b{hook}\b", heading) for heading in headings)] == []


def test_translations_are_complete():
    texts = {path.stem: path.read_text(encoding="utf-8") for path in (WEB / "i18n").glob("*.json")}
    assert {"en", "zh-CN", "ru"} <= set(texts)
    _assert_none(rules.different_translations(texts))


def test_the_page_asks_no_other_server():
    files = [path for path in WEB.rglob("*") if path.suffix in (".js", ".css", ".html", ".json", ".svg")]
    _assert_none(_offences(rules.external_addresses, files))


def test_the_page_makes_no_markup_from_text():
    _assert_none(_offences(rules.markup_from_text, list(WEB.rglob("*.js"))))


def test_no_path_of_a_machine_is_in_a_file():
    assert __file__ in map(str, _tracked())
    offences = []
    for path in _tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # a picture
        if path.parent != Path(__file__).parent:
            offences += [f"{_name(path)}:{offence}" for offence in rules.foreign_paths(text)]
    _assert_none(offences)


def test_the_page_is_built_without_torch():
    heavy = ("torch", "diffusers", "transformers", "open_clip", "xformers")
    code = f"import sys, webui.main; print([name for name in {heavy} if name in sys.modules], 'gradio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.split() == ["[]", "True"]


def test_imports_point_down():
    code = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports())"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert re.search(r"Contracts: 5 kept, 0 broken", done.stdout), done.stdout[-4000:] + done.stderr[-2000:]
    assert done.returncode == 0
