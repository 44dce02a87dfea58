"""Every rule sees its bad sample and lets its good one pass: a guard that cannot fail guards nothing."""

from __future__ import annotations

import textwrap

import pytest

from tests.guards import rules

SAMPLES = {
    rules.long_file: ("x = 1\n" * 401, "x = 1\n" * 400),
    rules.long_functions: ("def f():\n" + "    x = 1\n" * 60, "def f():\n" + "    x = 1\n" * 59),
    rules.many_positionals: ("def f(a, b, c, d, e, f, g, h): ...", "class A:\n    def f(self, a, b, c, d, e, f, g, *, h): ..."),
    rules.globals_used: ("x = 1\ndef f():\n    global x\n    x = 2", "x = 1\ndef f():\n    return x"),
    rules.broad_excepts: ("try: f()\nexcept (ValueError, Exception): pass", "try: f()\nexcept BaseException:\n    g()\n    raise"),
    rules.late_imports: ("def f():\n    import torch", "import torch\ndef f(): ..."),
    rules.undocumented: (
        "'''doc'''\nclass A:\n    '''doc'''\n    def f(self): ...",
        "'''doc'''\ndef _f(): ...\nclass A:\n    '''doc'''\n    def __len__(self): ...",
    ),
    rules.unannotated: ("def f(a, *b: int) -> None: ...", "class A:\n    def f(self, a: int, **b: str) -> None: ..."),
    rules.skipped_tests: ("@pytest.mark.skipif(True)\ndef test_x(): assert f()", "def test_x():\n    token.skip()\n    assert token.xfail"),
    rules.tests_without_a_claim: (
        "def test_x():\n    f()", "def f(): assert 1\ndef test_x():\n    f()\ndef test_y():\n    with pytest.raises(E): g()",
    ),
    rules.foreign_paths: ("PATH = '/home/ann/easel'", "see /homepage and ~/easel"),
    rules.external_addresses: ("@import url(//fonts.example.com/x.css);", "// a comment. http: none\nconst ns = 'http://www.w3.org/2000/svg';"),
    rules.markup_from_text: ("node.innerHTML = prompt;", "// no innerHTML here\nnode.textContent = prompt; evaluate(prompt);"),
}


@pytest.mark.parametrize("rule", SAMPLES, ids=lambda rule: rule.__name__)
def test_each_rule_sees_its_bad_sample(rule):
    bad, good = SAMPLES[rule]
    assert rule(bad)
    assert not rule(good)


@pytest.mark.parametrize("bad", ["try: f()\nexcept: pass", "try: f()\nexcept Exception as e: raise E from e", "try: f()\nexcept BaseException: g()"])
def test_every_broad_except_is_seen(bad):
    assert rules.broad_excepts(bad) == [2]


@pytest.mark.parametrize("bad", ["pytest.skip('x')", "pytest.importorskip('x')", "@pytest.mark.xfail\ndef f(): ...", "@mark.skip\ndef f(): ..."])
def test_every_way_to_skip_is_seen(bad):
    assert len(rules.skipped_tests(bad)) == 1


@pytest.mark.parametrize("bad", ["/wo" + "rk/main/x", "/ro" + "ot/x", "/Use" + "rs/ann", "C:" + "\\Users\\ann", "sha" + "red/golden"])
def test_every_foreign_path_is_seen(bad):
    assert len(rules.foreign_paths(f"first line\n{bad}")) == 1


def test_a_missing_result_annotation_is_seen():
    assert rules.unannotated("def f(a: int): ...") == ["1: f does not annotate its result"]


def test_nested_and_private_things_are_left_alone():
    text = textwrap.dedent("""
        '''doc'''
        class _Private:
            def f(self, x): ...
        def f() -> None:
            '''doc'''
            def inner(x): ...
    """)
    assert rules.undocumented(text) == []
    assert rules.unannotated(text) == []


def test_translations_are_compared_in_every_way():
    en = '{"a": "one {n}", "b": {"c": "two"}}'
    assert rules.different_translations({"en": en, "ru": '{"a": "раз {n}", "b": {"c": "два"}}'}) == []
    assert rules.different_translations({"en": en, "ru": '{"a": "раз", "b": {"d": "два"}}'}) == [
        "ru: lacks b.c", "ru: has b.d, which en lacks", "ru: a has other places than en"]
    assert rules.different_translations({"en": en, "ru": '{"a": "{n}", "b": {"c": " "}}'}) == ["ru: b.c is empty"]


def test_hooks_are_found_by_their_mark():
    assert rules.hook_names("@hookspec\ndef one(): ...\n@hookspec(firstresult=True)\ndef two(): ...\ndef three(): ...") == ["one", "two"]
