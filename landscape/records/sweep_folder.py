"""Which runs a folder is going to hold: their names and recipes, written with the plan of a sweep, before any is begun.

Without it, nobody who reads the folder of a half-finished sweep can tell how much is missing, and two plans could send
different runs into one folder.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from landscape.errors import InputError, UsageError
from landscape.records.reading import read_text
from landscape.records.storage import write_whole

# Hidden, so that the shell's runs/* names the runs alone.
NAME = ".sweep.json"
SCHEMA = "landscape.sweep-folder/1"

Recipes = Mapping[str, Mapping[str, Any]]
"""The fields of the recipe of each run, by the name of its folder."""


def planned_runs(folder: Path) -> Recipes:
    """The runs that plans send into a folder; none if no plan does, or if nobody can read what it left."""
    return _read(folder)[1]


def register(folder: Path, plan: Path, recipes: Recipes) -> None:
    """Adds the runs of a plan to those of a folder, which is made if need be.

    Raises:
        UsageError: Another plan sends another run into a folder of the same name.
    """
    before, known = _read(folder)
    for name, recipe in recipes.items():
        other = known.get(name)
        if other is None:
            continue
        changed = [key for key in dict.fromkeys((*other, *recipe)) if other.get(key) != recipe.get(key)]
        if changed:
            then = ", ".join(f"{key}={other.get(key)}" for key in changed)
            now = ", ".join(f"{key}={recipe.get(key)}" for key in changed)
            raise UsageError(
                f"{folder} is the folder of another sweep: by the plan {before} its run {name} has {then}, and here it "
                f"has {now}; name another folder with -o, or remove {folder / NAME} if that plan is no longer used"
            )
    content = {"schema": SCHEMA, "plan": str(plan), "runs": {**known, **recipes}}
    write_whole(folder / NAME, (json.dumps(content, ensure_ascii=False, indent=1) + "\n").encode())


def _read(folder: Path) -> tuple[str, Recipes]:
    """The last plan, and the runs of all of them."""
    place = folder / NAME
    try:
        fields = json.loads(read_text(place)) if place.is_file() else {}
    except (InputError, ValueError, RecursionError):
        return "", {}
    runs = fields.get("runs") if isinstance(fields, dict) and fields.get("schema") == SCHEMA else None
    if not isinstance(runs, dict):
        return "", {}
    # A name with a separator would be a path to any other place.
    names = {n: r for n, r in runs.items() if isinstance(r, dict) and Path(n).name == n}
    return str(fields.get("plan", "")), names
