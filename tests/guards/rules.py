"""The rules of the house as functions of source text: each returns its offences as `line: what`. tests/guards/test_rules.py shows each a bad sample,
test_house.py applies them to the tree. CONTRIBUTING.md says why they are there."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator

FILE_LINES, FILE_LINES_HARD = 400, 600
FUNCTION_LINES, FUNCTION_LINES_HARD = 60, 100
POSITIONAL = 7
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}

Function = ast.FunctionDef | ast.AsyncFunctionDef


def long_file(text: str, limit: int = FILE_LINES) -> list[str]:
    """A file longer than `limit` lines."""
    lines = len(text.splitlines())
    return [f"1: {lines} lines, at most {limit}"] if lines > limit else []


def long_functions(text: str, limit: int = FUNCTION_LINES) -> list[str]:
    """Functions longer than `limit` lines, signature and docstring included."""
    found = [(node, (node.end_lineno or node.lineno) - node.lineno + 1) for node in _functions(text)]
    return [f"{node.lineno}: {node.name} has {lines} lines, at most {limit}" for node, lines in found if lines > limit]


def many_positionals(text: str) -> list[str]:
    """Functions that take more than seven parameters by position; `self` and `cls` do not count."""
    offences = []
    for node in _functions(text):
        names = [argument.arg for argument in node.args.posonlyargs + node.args.args]
        count = len(names) - (names[:1] in (["self"], ["cls"]))
        if count > POSITIONAL:
            offences.append(f"{node.lineno}: {node.name} has {count} positional parameters, at most {POSITIONAL}")
    return offences


def globals_used(text: str) -> list[str]:
    """`global` statements."""
    return [f"{node.lineno}: global {', '.join(node.names)}" for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Global)]


def late_imports(text: str) -> dict[str, int]:
    """Modules imported inside functions, with the line of each."""
    found: dict[str, int] = {}
    for function in _functions(text):
        for node in ast.walk(function):
            if isinstance(node, ast.Import):
                found |= {alias.name: node.lineno for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                found["." * node.level + (node.module or "")] = node.lineno
    return found


def broad_excepts(text: str) -> list[int]:
    """Lines of handlers that catch everything and do not end by raising again."""
    lines = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ExceptHandler):
            caught = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            broad = any(kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")) for kind in caught)
            last = node.body[-1]
            if broad and not (isinstance(last, ast.Raise) and last.exc is None):
                lines.append(node.lineno)
    return lines


def undocumented(text: str) -> list[str]:
    """Public modules, classes and functions without a docstring. Dunder methods and what is inside a function need none."""
    tree = ast.parse(text)
    offences = [] if ast.get_docstring(tree) else ["1: the module has no docstring"]
    bare = [node for node in _public(tree) if not node.name.startswith("__") and not ast.get_docstring(node)]
    return offences + [f"{node.lineno}: {node.name} has no docstring" for node in bare]


def unannotated(text: str) -> list[str]:
    """Public functions with a parameter or a result without annotation."""
    offences = []
    for node in _public(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            continue
        signature = node.args
        parameters = [*signature.posonlyargs, *signature.args, *signature.kwonlyargs, *filter(None, (signature.vararg, signature.kwarg))]
        bare = [item.arg for index, item in enumerate(parameters) if item.annotation is None and not (index == 0 and item.arg in ("self", "cls"))]
        if bare:
            offences.append(f"{node.lineno}: {node.name} does not annotate {', '.join(bare)}")
        if node.returns is None:
            offences.append(f"{node.lineno}: {node.name} does not annotate its result")
    return offences


def skipped_tests(text: str) -> list[str]:
    """Every way to not run a test and stay green."""
    pattern = re.compile(r"^(?:pytest\.|unittest\.)?(?:mark\.)?(?:skip|skipif|skipIf|skipUnless|xfail|importorskip|SkipTest)$|^self\.skipTest$")
    names = [(node.lineno, ast.unparse(node)) for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Attribute)]
    return [f"{line}: {name}" for line, name in names if pattern.match(name)]


def tests_without_a_claim(text: str) -> list[str]:
    """Test functions that cannot fail: no assert, no `raises` or `expect`, and no call of a helper that asserts or is named for checking."""
    offences = []
    asserting = {node.name for node in _functions(text) if any(isinstance(part, ast.Assert) for part in ast.walk(node))}
    for node in _functions(text):
        if node.name.startswith("test_"):
            names = {_name(call.func) for call in ast.walk(node) if isinstance(call, ast.Call)}
            checks = any(name in asserting or re.search(r"raises|warns|expect|assert|check|wait", name) for name in names)
            if node.name not in asserting and not checks:
                offences.append(f"{node.lineno}: {node.name} claims nothing")
    return offences


def foreign_paths(text: str) -> list[str]:
    """Paths of somebody's machine."""
    pattern = re.compile(r"/(?:work|root|Users|home/\w+)/[\w.-]+|[A-Z]:\\Users\\|\bshared/(?:ARCHITECTURE|golden|reference)")
    return [f"{number}: {found[0]}" for number, line in enumerate(text.splitlines(), 1) if (found := pattern.search(line))]


def external_addresses(text: str) -> list[str]:
    """Addresses of other servers in a file that the page loads. The names of XML's own vocabularies are no requests."""
    pattern = re.compile(r"(?:(?:https?|wss?):)//(?!www\.w3\.org/)\S+|(?<=[\"'(])//[\w-]+\.\w+\S*")
    return [f"{number}: {found[0]}" for number, line in enumerate(text.splitlines(), 1) if (found := pattern.search(line))]


def markup_from_text(script: str) -> list[str]:
    """JavaScript that turns text into markup or code; prompts and file names are foreign text."""
    pattern = re.compile(r"\b(?:innerHTML|outerHTML|insertAdjacentHTML|document\.write|createContextualFragment|eval|new Function)\b")
    lines = [(number, line.strip()) for number, line in enumerate(script.splitlines(), 1)]
    return [f"{number}: {found[0]}" for number, line in lines if not line.startswith(("//", "/*", "*")) and (found := pattern.search(line))]


def different_translations(texts: dict[str, str]) -> list[str]:
    """What differs between translations (locale → JSON): keys, empty values, and the `{places}` of a sentence."""
    locales = {name: _flat(json.loads(text)) for name, text in texts.items()}
    base = locales["en"]
    offences = []
    for locale, entries in locales.items():
        offences += [f"{locale}: lacks {key}" for key in sorted(base.keys() - entries.keys())]
        offences += [f"{locale}: has {key}, which en lacks" for key in sorted(entries.keys() - base.keys())]
        for key in sorted(base.keys() & entries.keys()):
            if not entries[key].strip():
                offences.append(f"{locale}: {key} is empty")
            if sorted(re.findall(r"\{\w*\}", entries[key])) != sorted(re.findall(r"\{\w*\}", base[key])):
                offences.append(f"{locale}: {key} has other places than en")
    return offences


def hook_names(hookspecs: str) -> list[str]:
    """Names of the functions marked `@hookspec`."""
    marked = [node for node in ast.parse(hookspecs).body if isinstance(node, ast.FunctionDef)]
    return [node.name for node in marked if any("hookspec" in ast.unparse(decorator) for decorator in node.decorator_list)]


def _functions(text: str) -> Iterator[Function]:
    return (node for node in ast.walk(ast.parse(text)) if isinstance(node, Function))


def _public(node: ast.Module | ast.ClassDef) -> Iterator[Function | ast.ClassDef]:
    """Functions and classes a reader may use: no underscore in front, and in nothing private. Nested functions are nobody's business."""
    for child in node.body:
        if isinstance(child, Function | ast.ClassDef) and (not child.name.startswith("_") or child.name.startswith("__")):
            yield child
            if isinstance(child, ast.ClassDef):
                yield from _public(child)


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")


def _flat(tree: dict[str, object], prefix: str = "") -> dict[str, str]:
    flat: dict[str, str] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: str(value)}
    return flat
