"""Several runs as a whole: planned, resumed, and none stopped by another's failure, in one process and in a pool."""

import dataclasses
import signal
import threading

import pytest

from landscape.errors import UsageError
from landscape.training import Job, Recipe, plan_runs, train, train_several
from landscape.training.pool import Pool

TINY = Recipe(model="mlp:width=4,depth=1", epochs=2, batch_size=512, device="cpu")


def recipes(*optimizers, **fields):
    return [dataclasses.replace(TINY, optimizer=name, **fields) for name in optimizers]


def planned(tmp_path, chosen, **options):
    folders = [tmp_path / f"{k}" for k in range(len(chosen))]
    plan = plan_runs(chosen, folders, **options)
    return plan, [Job(run.recipe, run.folder) for run in plan.runs]


def test_the_plan_knows_what_is_done_and_times_the_rest(tmp_path):
    train(TINY, output=tmp_path / "0")
    plan, _ = planned(tmp_path, recipes("sgd", "sam"))
    done, left = plan.runs
    assert (done.done, done.timing, done.seconds) == (2, None, 0.0)
    assert (left.done, left.timing.gradients) == (0, 2.0)
    assert left.timing.steps_per_epoch == 3
    assert plan.seconds == left.seconds > 0
    assert left.seconds == pytest.approx(2 * (3 * left.timing.step + left.timing.evaluation))
    assert not (tmp_path / "1").exists()


def test_short_work_is_done_without_a_pool_unless_it_is_asked_for(tmp_path):
    assert planned(tmp_path, recipes("sgd", "sam"))[0].jobs == 1
    assert planned(tmp_path, recipes("sgd", "sam"), jobs=2)[0].jobs == 2
    assert planned(tmp_path, recipes("sgd", "sam"), jobs=9)[0].jobs == 2


def test_a_budget_of_gradients_is_in_the_plan(tmp_path):
    plan, _ = planned(tmp_path, recipes("sgd", "sam", epochs=6), budget="gradients")
    assert [run.recipe.epochs for run in plan.runs] == [6, 3]


def test_two_runs_for_one_folder_or_another_run_in_it_are_refused_before_anything_is_done(tmp_path):
    with pytest.raises(UsageError, match="two of the runs would go to"):
        plan_runs(recipes("sgd", "sam"), [tmp_path, tmp_path])
    train(TINY, output=tmp_path / "1")
    with pytest.raises(UsageError, match="holds a run with optimizer=sgd"):
        planned(tmp_path, recipes("sgd", "sam"))
    assert not (tmp_path / "0").exists()


def test_a_failed_run_is_reported_and_the_others_are_finished(tmp_path):
    chosen = [*recipes("sgd"), dataclasses.replace(TINY, lr=1e30, seed=1), *recipes("sam")]
    plan, todo = planned(tmp_path, chosen, jobs=1)
    shares = []
    outcome = train_several(plan, todo, notice=lambda ended, share, name: shares.append((ended, share)))
    assert [run.path.name for run in outcome.runs] == ["0", "2"]
    [failure] = outcome.failures
    assert failure.folder.name == "1"
    assert "Try a lower learning rate than lr=1e+30" in failure.reason
    assert shares[-1] == (3, pytest.approx(1.0))
    assert [share for _, share in shares] == sorted(share for _, share in shares)
    # The same again: what is finished stays, byte for byte, and was what a run by itself gives.
    before = outcome.runs[0].checkpoint.read_bytes()
    again = train_several(plan, todo)
    assert [run.metrics for run in again.runs] == [run.metrics for run in outcome.runs]
    assert again.runs[0].checkpoint.read_bytes() == before
    assert train(TINY, output=tmp_path / "alone").checkpoint.read_bytes() == before


@pytest.mark.thorough
def test_in_a_pool_no_run_is_lost_by_another_that_fails_or_is_killed_nor_by_a_signal(tmp_path):
    """One process after the other, and all of it in one pool, because each costs seconds of imports."""
    chosen = {
        "fails": dataclasses.replace(TINY, lr=1e30, seed=1),
        "killed": dataclasses.replace(TINY, epochs=100_000),
        "done": TINY,
        "stopped": dataclasses.replace(TINY, epochs=60),
    }
    pool = Pool([Job(recipe, tmp_path / name) for name, recipe in chosen.items()], processes=1, threads=1)
    seen, begun = [], threading.Event()
    main = threading.main_thread().ident

    def interrupt():
        if begun.wait(60):
            signal.pthread_kill(main, signal.SIGINT)

    def notice(event):
        seen.append(event)
        if event.kind == "progress" and event.index == 1:
            for process in list(pool._processes):
                process.kill()
        if event.index == 3 and event.fields.get("epoch", 0) > 1:
            begun.set()

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        pool.run(notice)
    ends = {event.index: event for event in seen if event.kind in ("done", "failed")}
    assert "Try a lower learning rate than lr=1e+30" in ends[0].fields["reason"]
    assert "ended by SIGKILL (out of memory?" in ends[1].fields["reason"]
    assert ends[2].kind == "done"
    alone = train(TINY, output=tmp_path / "alone")
    assert (tmp_path / "done/checkpoint.pt").read_bytes() == alone.checkpoint.read_bytes()

    stopped = tmp_path / "stopped"
    assert (stopped / "history.jsonl").read_text().count("\n") < 60
    assert (stopped / "checkpoint.pt").is_file()
    resumed = train(chosen["stopped"], output=stopped)
    whole = train(chosen["stopped"], output=tmp_path / "whole")
    assert resumed.checkpoint.read_bytes() == whole.checkpoint.read_bytes()


def test_a_job_survives_its_way_to_another_process(tmp_path):
    from landscape.training import Measuring

    job = Job(
        TINY, tmp_path, save_every=3, measuring=Measuring(2, names=("loss",)), trackers=("tensorboard",)
    )
    assert dataclasses.replace(Job.from_dict(job.to_dict()), trackers=job.trackers) == job
