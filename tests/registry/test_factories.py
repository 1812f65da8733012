"""The user's own code behind a name: which files it is made of, and that a changed one is run anew."""

import sys

import pytest

from landscape.errors import InputError, UsageError
from landscape.registry.factories import Kind, needs_only, user_row
from landscape.registry.user_code import code_hash, names_code

FILES = {
    "nets.py": "import torch\nfrom acts import act\nimport pack.deep.inner\n\ndef build():\n    return act(-2.0)\n",
    "acts.py": "from shapes import slope\n\ndef act(x):\n    return slope() * max(x, 0.0)\n",
    "shapes.py": "def slope():\n    import lazy\n    return 1.0\n",
    "lazy.py": "VALUE = 1\n",
    "pack/__init__.py": "",
    "pack/deep/__init__.py": "from . import sibling\nfrom ..other import thing\n",
    "pack/deep/sibling.py": "VALUE = 1\n",
    "pack/deep/inner.py": "import importlib\nplugin = importlib.import_module('plug' + 'in')\n",
    "pack/other.py": "thing = 1\n",
    "plugin.py": "VALUE = 1\n",
    "unrelated.py": "VALUE = 1\n",
}
NAME = "./nets.py:build"


@pytest.fixture
def code(tmp_path, monkeypatch):
    """A folder with the user's code, in which Python runs."""
    monkeypatch.chdir(tmp_path)
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


def called(name):
    return user_row(name, Kind("thing", [needs_only], "write one")).build()


@pytest.mark.parametrize("name", FILES)
def test_every_module_that_the_named_file_imports_counts_and_no_other(code, name):
    before = code_hash(NAME)
    assert code_hash(NAME) == before
    (code / name).write_text(FILES[name] + "# a remark\n")
    assert (code_hash(NAME) != before) == (name != "unrelated.py")
    (code / name).write_text(FILES[name])
    assert code_hash(NAME) == before


def test_a_module_that_has_changed_is_run_anew_with_all_that_holds_its_functions(code):
    assert called(NAME) == 0.0
    (code / "acts.py").write_text("def act(x):\n    return 7.0 * x\n")
    assert called(NAME) == -14.0
    (code / "nets.py").write_text("from acts import act\ndef build():\n    return act(1.0)\n")
    assert called(NAME) == 7.0


def test_a_function_that_imports_when_it_is_called_brings_files_that_count(code):
    before = code_hash(NAME)
    assert called(NAME) == 0.0
    assert "lazy" in sys.modules
    assert code_hash(NAME) == before
    (code / "lazy.py").write_text("VALUE = 2\n")
    assert code_hash(NAME) != before


def test_modules_of_the_same_name_in_two_folders_are_two_modules(code):
    for folder in ("a", "b"):
        (code / folder).mkdir()
        (code / folder / "own.py").write_text("import same\ndef build():\n    return same.NAME\n")
        (code / folder / "same.py").write_text(f"NAME = '{folder}'\n")
    a, b = "./a/own.py:build", "./b/own.py:build"
    assert (called(a), called(b), called(a)) == ("a", "b", "a")
    hashes = code_hash(a), code_hash(b)
    assert hashes[0] != hashes[1]
    assert (code_hash(a), code_hash(b)) == hashes
    (code / "a/same.py").write_text("NAME = 'c'\n")
    assert code_hash(b) == hashes[1]
    assert code_hash(a) != hashes[0]
    assert (called(a), called(b)) == ("c", "b")


def test_names_of_our_own_tables_have_no_code_of_the_user(code):
    assert code_hash(NAME, "digits", None) == code_hash(NAME)
    assert code_hash("digits", None) is None


def test_modules_by_name_count_with_their_package(code, monkeypatch):
    monkeypatch.syspath_prepend(str(code))
    (code / "pack/deep/inner.py").write_text("from .sibling import VALUE\ndef build():\n    return VALUE\n")
    name = "pack.deep.inner:build"
    before = code_hash(name)
    assert called(name) == 1
    (code / "pack/deep/sibling.py").write_text("VALUE = 23\n")
    assert called(name) == 23
    assert code_hash(name) != before
    assert code_hash("json:dumps") is not None


THING = Kind("thing", [lambda value: value.__name__ == "best", needs_only], "write a function thing()")

ALONE = {
    "the only one that needs nothing": ("def a(x): pass\ndef b(x=1): return 'b'\n", "b"),
    "the name of the kind": ("def thing(): return 'thing'\ndef best(): pass\n", "thing"),
    "the first rule": ("def a(): pass\ndef best(): return 'best'\n", "best"),
    "no helper": ("from os.path import abspath as best\ndef _b(): pass\ndef c(): return 'c'\n", "c"),
}


@pytest.mark.parametrize("case", ALONE)
def test_a_file_alone_names_the_only_object_that_can_be_meant(code, case):
    text, expected = ALONE[case]
    (code / "own.py").write_text(text)
    row = user_row("./own.py", THING)
    assert (row.name, row.build()) == (f"./own.py:{expected}", expected)
    assert names_code("./own.py")
    assert code_hash("./own.py") == code_hash(f"./own.py:{expected}")


def test_a_file_alone_with_several_or_none_lists_what_there_is(code):
    (code / "own.py").write_text("def a(): pass\ndef b(): pass\n")
    with pytest.raises(
        UsageError, match=r"2 objects that can be the thing; name one: ./own.py:a, ./own.py:b"
    ):
        user_row("./own.py", THING)
    (code / "own.py").write_text("def a(x): pass\n")
    with pytest.raises(UsageError, match=r"by itself \(it defines a\): write a function thing\(\)"):
        user_row("./own.py", THING)


BROKEN = {
    "syntax": ("def f(:\n", r"own.py cannot be loaded: SyntaxError: invalid syntax \(own.py, line 1\)$"),
    "exit": (
        "import sys\nsys.exit('no data')\n",
        r"it calls sys.exit\('no data'\); .* if __name__ == '__main__':",
    ),
    "error": ("x = 1 / 0\n", r"ZeroDivisionError: division by zero \(own.py, line 1\)"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_file_that_cannot_be_loaded_is_one_line(code, case):
    text, expected = BROKEN[case]
    (code / "own.py").write_text(text)
    with pytest.raises(InputError, match=expected) as caught:
        user_row("./own.py:f", THING)
    assert "\n" not in str(caught.value)


def test_a_script_finds_no_arguments_of_ours_and_prints_beside_the_numbers(code, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["landscape", "--unknown"])
    (code / "own.py").write_text(
        "import sys\nprint('epoch 1')\nSEEN = list(sys.argv)\ndef f(): return SEEN\n"
    )
    assert user_row("./own.py", THING).build() == ["./own.py"]
    assert sys.argv == ["landscape", "--unknown"]
    assert capsys.readouterr() == ("", "epoch 1\n")


def test_a_function_that_exits_has_failed(code):
    (code / "own.py").write_text("def f():\n    raise SystemExit(2)\n")
    with pytest.raises(InputError, match=r"own.py:f failed: SystemExit: it calls sys.exit\(2\)"):
        user_row("./own.py:f", THING).build()
