"""``landscape measure`` in several processes prints once, and the numbers of one process."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from command_cases import by_torchrun, together
from command_line import TINY, call
from landscape.cli.ranks import Several
from started import server
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from landscape import records
from landscape.errors import UsageError
from landscape.processes import rendezvous, sharing, starting
from landscape.processes.launch import Launch
from landscape.processes.rendezvous import Hello

MEASURES = ["-M", "loss,accuracy,gradient-norm,gradient-noise,hessian-trace:max_probes=8", "-b", "100"]
ASKED = [
    "measure",
    "run",
    *MEASURES,
    "--dtype",
    "float64",
    "--device",
    "cpu",
    "--no-resume",
    "--format",
    "json",
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder with a checkpoint in ``run``."""
    folder = tmp_path_factory.mktemp("run")
    assert call(["train", *TINY, "-o", str(folder / "run"), "-q"]) == 0
    return folder


@pytest.fixture(scope="module")
def alone(run):
    """The numbers of one process."""
    arguments = [str(run / "run") if word == "run" else word for word in ASKED]
    assert call([*arguments, "-o", str(run / "alone.jsonl"), "-q"]) == 0
    return records.read(run / "alone.jsonl").estimates


def assert_same(printed, alone):
    found = json.loads(printed)  # of one document: it is printed once
    assert [each["measure"] for each in found] == [each.measure for each in alone]
    for each, expected in zip(found, alone, strict=True):
        assert each["value"] == pytest.approx(expected.value, rel=1e-12)
        assert (each["standard_error"] is None) == (expected.standard_error is None)
        assert (each["standard_error"] or 0) == pytest.approx(expected.standard_error or 0, rel=1e-9)


def command(*words, cwd, **environment):
    plain = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    return subprocess.run(
        words, cwd=cwd, env={**plain, **environment}, capture_output=True, text=True, timeout=240
    )


def test_torchrun_prints_once_and_equals_one_process(run, alone, tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # torchrun writes a page about it otherwise
    launched = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=2,
        run_id="run",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
        monitor_interval=0.05,
        start_method="forkserver",  # as torchrun, but without new interpreters
    )
    server()
    words = [str(run / "run") if word == "run" else word for word in ASKED]
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        codes = elastic_launch(launched, by_torchrun)(tmp_path, [*words, "-q", "-o", "torchrun.jsonl"])
    finally:
        for number, handler in before.items():  # torch's agent keeps them
            signal.signal(number, handler)
    assert codes == {0: 0, 1: 0}
    assert [(tmp_path / f"1.{kind}").read_text() for kind in ("out", "err")] == ["", ""]
    assert_same((tmp_path / "0.out").read_text(), alone)
    kept = records.read(tmp_path / "torchrun.jsonl")
    assert [each.measure for each in kept.estimates] == [each.measure for each in alone]
    assert kept.unreadable == 0


def test_processes_of_its_own_print_once_and_equal_one_process(run, alone):
    ended = command(sys.executable, "-m", "landscape", *ASKED, "--processes", "2", "-o", "own.jsonl", cwd=run)
    assert ended.returncode == 0, ended.stderr
    assert_same(ended.stdout, alone)
    assert ended.stderr.count("examples: loss") == 1
    assert len(records.read(run / "own.jsonl").estimates) == len(alone)


def test_records_are_read_and_written_by_the_first_process(run, alone, tmp_path):
    arguments = [word for word in ASKED if word != "--no-resume"]
    known = tmp_path / "known.jsonl"
    known.write_text("\n".join((run / "alone.jsonl").read_text().splitlines()[:3]) + "\n")
    codes, out, err = together(run, tmp_path / "a", *arguments, "-o", str(known), "-q")
    assert (codes, err) == ([0, 0], "")
    assert_same(out, alone)
    read = [each["measure"] for each in json.loads(out) if each["read_from"]]
    assert read == ["gradient-norm"]  # the first two are always computed
    assert [each.measure for each in records.read(known).estimates] == [each.measure for each in alone]


def test_a_plan_says_how_many_processes_it_is_for(run, tmp_path):
    codes, out, err = together(
        run, tmp_path / "a", "measure", "run", *MEASURES, "--dry-run", "--device", "cpu", "-q"
    )
    assert (codes, err) == ([0, 0], "")
    assert out.count("in 2 processes at once") == 1
    assert not (tmp_path / "a" / "measures.jsonl").exists()


def test_unconverged_numbers_fail_all_processes(run, tmp_path):
    words = [
        "measure",
        "run",
        "-M",
        "dominant-eigenvalue:max_iterations=2",
        "--fail-on",
        "warn",
        "--no-resume",
        "-q",
    ]
    codes, out, err = together(
        run, tmp_path / "a", *words, "-o", str(tmp_path / "kept.jsonl"), "--device", "cpu"
    )
    assert codes == [4, 4]
    assert out.count("dominant-eigenvalue") == 1
    assert err == "Error: not converged or not finite: dominant-eigenvalue\n"


def test_a_checkpoint_that_is_absent_is_one_line(run, tmp_path):
    codes, out, err = together(run, tmp_path / "a", "measure", "absent.pt", "--device", "cpu", world=3)
    assert (codes, out) == ([3, 3, 3], "")
    assert [line[:6] for line in err.splitlines() if not line.startswith("Note: 3 processes")] == ["Error:"]
    assert "absent.pt" in err


def hello(cores, gpus=(), machine="one"):
    return Hello("1", [], machine, machine, list(cores), list(gpus))


def test_cores_are_divided_by_the_processes_that_share_them():
    assert [sharing.own_threads([hello(range(8))] * 3, rank) for rank in range(3)] == [2, 2, 2]
    bound = [hello(range(4)), hello(range(4, 8)), hello(range(4), machine="two")]
    assert [sharing.own_threads(bound, rank) for rank in range(3)] == [4, 4, 4]
    assert sharing.own_threads([hello(range(2))] * 3, 0) == 0


def test_every_process_has_a_gpu_of_its_own_or_none():
    assert sharing.own_gpu([hello([0])] * 2, 1) is None
    assert [sharing.own_gpu([hello([0], ["a", "b"])] * 2, rank) for rank in range(2)] == [0, 1]
    apart = [hello([0], ["a"]), hello([0], ["b"]), hello([0], ["c"], machine="two")]
    assert [sharing.own_gpu(apart, rank) for rank in range(3)] == [0, 0, 0]
    with pytest.raises(
        UsageError, match=r"3 processes on one have 2 GPUs, and each needs its own.*--device cpu"
    ):
        sharing.own_gpu([hello([0], ["a", "b"])] * 3, 0)


ONE_NODE = {"OMPI_COMM_WORLD_LOCAL_SIZE": "2"}
STEP = {
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NODELIST": "gpu[03-05,9],cpu1",
    "SLURM_NNODES": "5",
}


@pytest.mark.parametrize(
    ("program", "variables", "host"),
    [
        ("torchrun", {"MASTER_ADDR": "a.b", "MASTER_PORT": "29500"}, "a.b"),
        ("srun", STEP, "gpu03"),
        ("srun", {**STEP, "SLURM_STEP_NODELIST": "cpu1"}, "cpu1"),
        ("srun", {**STEP, "SLURM_NNODES": "1"}, "127.0.0.1"),
        ("srun", {**STEP, "MASTER_ADDR": "other", "MASTER_PORT": "1"}, "other"),
        ("mpirun", ONE_NODE, "127.0.0.1"),
    ],
)
def test_where_processes_meet(monkeypatch, program, variables, host):
    for name in ("MASTER_ADDR", "MASTER_PORT", *STEP, *ONE_NODE):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found, port = rendezvous.address(Launch(0, 2, program, ""))
    assert found == host
    assert port == int(variables["MASTER_PORT"]) if "MASTER_PORT" in variables else 15_000 <= port < 30_000


@pytest.mark.parametrize("program", ["torchrun", "mpirun", "srun"])
def test_an_unknown_place_is_asked_for(monkeypatch, program):
    for name in ("MASTER_ADDR", "MASTER_PORT", *STEP, *ONE_NODE):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UsageError, match=r"set MASTER_ADDR to .* and MASTER_PORT to a free port"):
        rendezvous.address(Launch(0, 3, program, ""))


def test_processes_and_a_launcher_exclude_each_other(monkeypatch):
    for name, value in {"RANK": "0", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match=r"--processes 3 .* torchrun has started 2 \(WORLD_SIZE=2\)"):
        starting.starts(3)
    assert not starting.starts(None)
    monkeypatch.delenv("RANK")
    assert [starting.starts(count) for count in (None, 1, 2)] == [False, False, True]


@pytest.mark.parametrize("count", ["0", "1000000"])
def test_the_flag_is_a_number_of_processes(tmp_path, monkeypatch, capsys, count):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("landscape.cli.ranks.run_processes", None)
    assert call(["measure", "net.pt", "--processes", count]) == 2
    assert re.fullmatch(rf"Error: .*--processes.*{count}.*\n", capsys.readouterr().err)


def test_a_number_that_no_process_can_have_is_refused_at_once(monkeypatch):
    for name, value in {"RANK": "2", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    with Several(str) as several, pytest.raises(UsageError, match=r"process 2 of 2 .* from 0 to 1"):
        several.begin("measure")
