"""What can be asked of the command without doing anything: help, version, names, devices."""

import importlib.metadata
import importlib.util
import json
import re
from types import SimpleNamespace

import pytest
import torch
from landscape.cli.application import COMMANDS
from landscape.cli.help import GROUPS, place_of
from landscape.cli.list import TABLES

from landscape.version import __version__

KINDS = list(TABLES)
SHARED = {
    *("--model", "--data", "--loss", "--task", "--weights", "--trust-checkpoint", "--batch-norm", "--dtype"),
    *("--device", "--quiet", "--config"),
}
"""Flags that mean the same wherever checkpoints are opened."""


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_begins_with_two_commands_that_can_be_pasted(landscape, command):
    result = landscape(*command.split(), "--help")
    assert (result.code, result.err) == (0, "")
    first, second, blank, usage = result.out.splitlines()[:4]
    for line in (first, second):
        assert line.startswith(f"  landscape {command}".rstrip() + " ") or line == f"  landscape {command}"
    assert (blank, usage.split()[0]) == ("", "Usage:")
    assert landscape(*command.split(), "-h").out == result.out


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_in_80_columns_and_loses_no_word(landscape, monkeypatch, command):
    monkeypatch.setenv("COLUMNS", "200")
    text = landscape(*command.split(), "--help").out
    assert max(map(len, text.splitlines())) <= 80
    module = f"landscape.cli.{command or 'application'}"
    object_ = getattr(importlib.import_module(module), "command" if command else "application")
    words = "".join(text.split())  # lines are broken at hyphens too
    for parameter in object_.params:
        if parameter.param_type_name == "option" and not parameter.hidden:
            assert parameter.opts[0] in text
            assert "".join(parameter.help.split()) in words


def test_every_flag_of_every_command_is_in_a_group():
    for name in COMMANDS:
        command = importlib.import_module(f"landscape.cli.{name}").command
        for parameter in command.params:
            if parameter.param_type_name == "option":
                assert place_of(name, parameter)[0] in GROUPS, (
                    f"add {parameter.opts} to GROUPS of cli/help.py"
                )


def test_the_same_flag_has_the_same_words_in_every_command():
    words = {}
    for name in ("measure", "surface", "verify", "compare", "inspect", "convert"):
        for parameter in importlib.import_module(f"landscape.cli.{name}").command.params:
            flag = parameter.opts[-1] if parameter.param_type_name == "option" else None
            if flag in SHARED:
                assert words.setdefault(flag, parameter.help) == parameter.help, (name, flag)
    assert words.keys() == SHARED


def test_every_flag_is_explained_and_means_the_same_in_every_command():
    seen = {}
    for name in COMMANDS:
        command = importlib.import_module(f"landscape.cli.{name}").command
        for parameter in command.params:
            if parameter.param_type_name == "option" and not parameter.hidden:
                assert parameter.help, (name, parameter.name)
                for flag in [*parameter.opts, *parameter.secondary_opts]:
                    known = seen.setdefault(flag, parameter.opts)
                    assert set(known) & set(parameter.opts), (name, flag)


def test_flags_may_be_typed_with_underscores(landscape):
    result = landscape("measure", "nothing.pt", "--batch_norm", "stored", "--no-trust_checkpoint")
    assert (result.code, result.error) == (3, "Error: nothing.pt does not exist")


def test_every_command_has_its_line_in_the_help(landscape):
    listed = landscape("--help").out
    assert all(re.search(rf"^  {name} ", listed, re.MULTILINE) for name in COMMANDS)


def test_version_is_that_of_the_installed_distribution(landscape):
    assert (
        landscape("--version").out.split()[-1]
        == __version__
        == importlib.metadata.version("landscape-geometry")
    )


def tables():
    return {kind: getattr(importlib.import_module(m), a) for kind, (m, a) in TABLES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_list_shows_every_row_with_its_options_in_80_columns(landscape, kind):
    result = landscape("list", kind)
    assert (result.code, result.err) == (0, "")
    assert max(map(len, result.out.splitlines())) <= 80
    words = "".join(result.out.split())  # lines are broken at hyphens too
    for name, row in tables()[kind].items():
        assert re.search(rf"^{re.escape(name)}( |$)", result.out, re.MULTILINE)
        assert "".join(row.summary.split()) in words
        for option in row.options.values():
            default = "…" if option.required else str(option.default)
            assert (
                f"{option.name}={default.lower() if default in ('True', 'False', 'None') else default}"
                in words
            )


@pytest.mark.parametrize("kind", KINDS)
def test_list_as_json_holds_every_row_and_default(landscape, kind):
    listed = json.loads(landscape("list", kind, "--format", "json").out)
    lines = landscape("list", kind, "--format", "jsonl").out.splitlines()
    assert list(map(json.loads, lines)) == listed
    rows = {row["name"]: row for row in listed}
    assert list(rows) == list(tables()[kind])
    for name, row in tables()[kind].items():
        shown = {option["name"]: option for option in rows[name]["options"]}
        assert list(shown) == list(row.options)
        for option in row.options.values():
            assert shown[option.name]["required"] == option.required
            if not option.required:
                assert shown[option.name]["default"] == option.default


def test_env_names_the_versions_of_what_matters(landscape):
    result = landscape("env")
    assert result.code == 0
    for name in ("torch", "numpy", "scipy", "safetensors"):
        assert re.search(
            rf"^{name} +{re.escape(importlib.metadata.version(name))}$", result.out, re.MULTILINE
        )
    assert re.search(r"^cuda", result.out, re.MULTILINE)
    document = json.loads(landscape("env", "--format", "json").out)
    assert document["landscape"] == __version__
    assert max(map(len, result.out.splitlines())) <= 80
    unfolded = result.out.replace("\n" + " " * 14, " ").splitlines()
    assert all(f"{name:13} {text}" in unfolded for name, text in document.items())
    assert [json.loads(landscape("env", "--format", "jsonl").out)] == [document]


def test_env_describes_a_gpu_as_a_bug_report_needs_it(landscape, monkeypatch):
    properties = SimpleNamespace(name="NVIDIA H200", total_memory=139 << 30, major=9, minor=0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties)
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 92000)
    lines = dict(line.split(maxsplit=1) for line in landscape("env").out.splitlines())
    assert lines["cuda:0"] == "NVIDIA H200, 139 GiB, compute capability 9.0"
    assert re.fullmatch(
        rf"driver [\w.]+, torch built for CUDA {torch.version.cuda}, cuDNN 92000", lines["cuda"]
    )
    assert re.match("cuda matmul (none|ieee|tf32), cuda conv|products high", lines["float32"])


def test_every_format_flag_has_the_two_forms_of_json():
    for name in COMMANDS:
        for parameter in importlib.import_module(f"landscape.cli.{name}").command.params:
            # A report is a page; the JSON of its numbers is that of compare.
            if "--format" in parameter.opts and name != "report":
                assert {"json", "jsonl"} <= set(parameter.type.choices), name
