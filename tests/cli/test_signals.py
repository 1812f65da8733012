"""Interrupted, terminated and cut off: real processes, because signals and pipes are theirs."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from started import Command

from landscape import records
from landscape.version import __version__

LONG = ["-m", "mlp:width=8,depth=1", "-d", "digits", "--epochs", "12", "-b", "32", "--device", "cpu"]


def start(*arguments, cwd):
    """The command as a process with the signals of a terminal."""
    return subprocess.Popen(
        [sys.executable, "-m", "landscape", *arguments],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def wait_for(condition, process):
    deadline = time.monotonic() + 60
    while not condition():
        assert process.alive(), process.ended()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    from command_line import call

    folder = tmp_path_factory.mktemp("whole")
    assert call(["train", *LONG, "--optimizer", "sam", "-o", str(folder / "run"), "-q"]) == 0
    return (folder / "run/checkpoint.pt").read_bytes()


@pytest.mark.thorough
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_an_interrupted_training_prints_the_command_that_ends_with_the_same_bytes(
    tmp_path, landscape, undisturbed, number, code
):
    arguments = ["train", *LONG, "--optimizer", "sam", "-o", "my run", "-q"]
    process = Command(*arguments, "--overwrite", cwd=tmp_path)
    wait_for((tmp_path / "my run/checkpoint.pt").exists, process)
    process.send(number)
    ended, out, err = process.ended()
    assert (ended, out) == (code, "")
    lines = [line for line in err.splitlines() if line]
    assert lines[0] == "Interrupted; the results so far are on disk. To continue, run it again:"
    assert lines[1].replace("'", "") == "  landscape " + " ".join(arguments)
    assert len(lines) == 2
    assert len((tmp_path / "my run/history.jsonl").read_text().splitlines()) < 12
    assert landscape(*arguments).code == 0
    assert (tmp_path / "my run/checkpoint.pt").read_bytes() == undisturbed


def test_a_terminated_measurement_keeps_what_is_finished_and_goes_on(tmp_path, runs, landscape):
    endless = "hessian-trace:method=hutchinson,tolerance=1e-9,max_probes=1000000"
    arguments = ["measure", "runs/sgd-0", "-M", "loss", "-M", endless, "-q"]
    file = runs / "sgd-0/measures.jsonl"
    process = Command(*arguments, cwd=tmp_path)
    wait_for(lambda: file.is_file() and file.read_bytes().endswith(b"\n"), process)
    process.send(signal.SIGTERM)
    ended, out, err = process.ended()
    assert (ended, out) == (143, "")
    assert err.strip().splitlines() == [
        "Interrupted; the results so far are on disk. To continue, run it again:",
        "  landscape " + " ".join(arguments),
    ]
    held = records.read(file)
    assert ([e.measure for e in held.estimates], held.unreadable) == (["loss"], 0)
    before = file.read_bytes()
    assert landscape("measure", "runs/sgd-0", "-M", "loss", "-q").code == 0
    assert file.read_bytes() == before


def test_a_killed_surface_goes_on_to_the_same_bytes(tmp_path, runs, landscape):
    arguments = ["surface", "runs/sgd-0", "--points", "15", "--limit", "1000", "-q", "-o"]
    journal = tmp_path / "killed.journal"
    process = Command(*arguments, "killed.npz", cwd=tmp_path)
    wait_for(lambda: journal.is_file() and journal.read_bytes().count(b"\n") > 10, process)
    process.send(signal.SIGKILL)
    assert process.ended()[0] == -signal.SIGKILL
    assert journal.exists()
    assert not (tmp_path / "killed.npz").exists()
    assert landscape(*arguments, "killed.npz").code == 0
    resumed = (tmp_path / "killed.npz").read_bytes()
    (tmp_path / "killed.npz").unlink()
    assert landscape(*arguments, "killed.npz").code == 0
    assert (tmp_path / "killed.npz").read_bytes() == resumed


def test_a_reader_that_leaves_the_pipe_is_no_error(tmp_path):
    command = f"{sys.executable} -m landscape --help 2>err | head -1; echo ${{PIPESTATUS[0]}}"
    found = subprocess.run(["bash", "-c", command], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert found.stdout == "  landscape demo\n0\n"
    assert (tmp_path / "err").read_text() == ""


def test_closed_stdout_is_no_error(tmp_path):
    process = start("compare", "-h", cwd=tmp_path)
    process.stdout.close()
    assert process.wait(60) == 0
    assert process.stderr.read() == ""


def test_the_module_is_the_command(tmp_path):
    process = start("--version", cwd=tmp_path)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out.split()[-1], err) == (0, __version__, "")
    assert shutil.which("landscape", path=os.path.dirname(sys.executable))


def test_help_plot_and_compare_import_no_torch(tmp_path, runs, landscape):
    flags = ["runs/sgd-0", "--points", "3", "--limit", "20", "-q"]
    assert landscape("surface", *flags, "-o", "s.svg").code == 0
    assert landscape("measure", "runs/sgd-0", "-M", "loss", "-q").code == 0
    code = (
        "import sys\nfrom landscape.cli.application import application\n"
        "for words in (['--help'], ['train', '-h'], ['surface', '-h'], ['plot', '-h'], "
        "['plot', 's.npz', '-o', 'again.svg'],\n    ['compare', 'runs/sgd-0', '--no-measure-missing']):\n"
        "    try: application.main(words, standalone_mode=False)\n"
        "    except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "again.svg").read_bytes() == (tmp_path / "s.svg").read_bytes()
