"""Command lines at random, made of the commands' own flags: a new flag is attacked without a word here."""

import importlib
import json

import click
from hypothesis import strategies as st
from landscape.cli.application import COMMANDS
from landscape.cli.list import TABLES

HOSTILE = (
    *(
        "",
        " ",
        "-",
        "0",
        "-1",
        "1",
        "2",
        "0.5",
        "-0.0",
        "1e400",
        "1e-400",
        "nan",
        "inf",
        "-inf",
        "9" * 30,
        "9" * 5000,
    ),
    *(
        str(2**31),
        str(2**63),
        str(-(2**63) - 1),
        str(2**64),
        "1_0",
        "0x10",
        "٣",
        "½",
        "1,5",
        "0-2",
        "3-1",
        "0-",
    ),
    *(
        "none",
        "None",
        "true",
        "auto",
        ":",
        "=",
        ",",
        "a:b",
        "a:b=c",
        "a:b=c:d=e",
        "a:=",
        "a:b=c,b=d",
        "x" * 300,
    ),
    *(
        "\x1b[2J",
        "\u202e",
        "\udcff",
        "$x$",
        "%s",
        "{}",
        "[bold]",
        "θ",
        "'",
        '"',
        "`",
        "\\",
        "\n",
        "*",
        "../..",
        "/",
    ),
)
PATHS = (
    *("runs", "runs/sgd-0", "runs/sam-0", "runs/sgd-0/checkpoint.pt", "runs/sgd-0/measures.jsonl"),
    *(
        "runs/sgd-0/recipe.toml",
        "runs/sgd-0/history.jsonl",
        "s.npz",
        "s.csv",
        "w.safetensors",
        "c.toml",
        "none.pt",
    ),
    *(
        ".",
        "empty",
        "text.txt",
        "new/x.pdf",
        "new.npz",
        "x.png",
        "x.html",
        "x.csv",
        "t.tex",
        "t.json",
        "m.jsonl",
    ),
)
TEXTS = {
    "model": (
        "mlp",
        "mlp:width=2,depth=1",
        "mlp:width=-1",
        "mlp:depth=x",
        "mlp:width=",
        "torchvision:no",
        "./no.py:f",
    ),
    "data": (
        "moons:samples=40",
        "digits",
        "moons:samples=0",
        "moons:noise=nan",
        "cifar10:root=no",
        "imagefolder:no",
    ),
    "loss": ("cross-entropy", "mse", "no", "cross-entropy:label_smoothing=2", "./no.py:f"),
    "task": ("./no.py:f", "no:f"),
    "names": (
        *(
            "loss",
            "accuracy",
            "gradient-norm",
            "surrogate-gap:rho=0.1",
            "surrogate-gap:rho=0",
            "hessian-trace:seed=-1",
        ),
        *(
            "dominant-eigenvalue:method=lanczos,max_iterations=3",
            "hessian-trace:method=no",
            "top-eigenvalues:k=99999",
        ),
        *(
            "adaptive-sharpness:rho=nan",
            "gradient-noise",
            "layer-traces",
            "spectral-density:seed=-1",
            "sam-share",
        ),
        *("average-sharpness:seed=99999999999999999999,sigma=1e-300", "top-eigenvalues:end=no", "loss:x=1"),
    ),
    "measures": ("loss", "accuracy", "no", "train_loss"),
    "measure_names": ("loss", "loss,accuracy", "no", "surrogate-gap:rho=-1"),
    "plane": (
        "random",
        "random:seed=-1",
        "interpolation",
        "checkpoints",
        "trajectory",
        "random:normalisation=no",
        "no",
    ),
    "points": ("3", "3x5", "2", "1", "0", "5x", "x", "3x3x3", "-3"),
    "span": ("1", "0.1x0.2", "0", "-1", "nan", "inf", "x"),
    "shard": ("1/2", "2/1", "0/1", "1/0", "/", "1/99999999999"),
    "optimizers": (
        "sgd",
        "sam:rho=0.1",
        "sam:rho=0",
        "sgd,sam",
        "gsam:alpha=nan",
        "adam:betas=1",
        "no",
        "swa",
        "m-sam",
    ),
    "base": ("sgd", "sgd:momentum=0.9", "sgd:momentum=-1", "adamw:weight_decay=nan", "sam", "no"),
    "lr": ("0.1", "1e30"),
    "epochs": ("1", "2"),
    "batch_size": ("1", "7", "auto"),
    "seeds": ("0", "0-1", "0-99999999999", "-1", "1,1", "0-9223372036854775808"),
    "preset": ("cr-sam", "gsam", "no", "cifar10-sam"),
    "track": ("csv", "tensorboard", "no", "wandb:x=1"),
    "by": ("optimizer", "seed", "optimizer,lr", "no", ","),
    "baseline": ("sgd", "sam", "no"),
    "device": ("cpu", "cpu:1", "cuda", "cuda:99", "meta", "no"),
    "expect_accuracy": ("50±50", "95.1", "101", "±", "5+-"),
    "kind": ("filled", "relief", "line", "history", "dots", "difference", "no"),
    "levels": ("0.1,1", "1", "nan,1", "1,0.1", "1,1", "x"),
    "font": ("no", "DejaVu Sans"),
    "titles": ("$x$", "a"),
    "precision": ("full", "bf16", "fp16"),
}
ENDLESS = {("train", "epochs"), ("train", "jobs"), ("verify", "limit")}
"""Parameters whose large values are allowed, and take for ever."""
SMALL = {
    "train": ("-m", "mlp:width=2,depth=1", "-d", "moons:samples=40", "--epochs", "1", "-q"),
    "measure": ("--limit", "20", "-M", "loss", "-q"),
    "surface": ("--points", "3", "--limit", "20", "-o", "x.npz", "-q"),
    "compare": ("--limit", "20", "-M", "loss", "-q"),
    "barriers": ("--points", "3", "--limit", "20", "-q"),
    "verify": ("--limit", "5"),
    "plot": ("-o", "plotted.png"),
    "report": ("-o", "report.html"),
}
"""What makes a command cheap; flags that follow override it."""

ATTACKED = [name for name in COMMANDS if name not in ("demo", "env")]
"""The commands that take anything from outside, and do not run for a minute by themselves."""


def command(name):
    return importlib.import_module(f"landscape.cli.{name}").command


def good_values(name, parameter):
    """Texts that a parameter may have, or that are wrong in its own way."""
    kind = parameter.type
    pool = [*TEXTS.get(parameter.name or "", ())]
    if isinstance(kind, click.Choice):
        pool += kind.choices
    elif isinstance(kind, click.Path) or isinstance(parameter, click.Argument):
        pool += [*PATHS[:6] * 4, *PATHS] if isinstance(parameter, click.Argument) else PATHS
    elif isinstance(kind, (click.types.IntParamType, click.types.FloatParamType)):
        pool += ["0", "1", "2", "3", "-1", "0.5", "99999999999"]
    return [text for text in pool if allowed(name, parameter, text)] or ["x"]


def allowed(name, parameter, text):
    """Whether a command with this text ends before long."""
    return (name, parameter.name) not in ENDLESS or not text.strip().isdigit() or int(text[:9]) < 3


TABLED = {
    "names": ("measures", ()),
    "measure_names": ("measures", ()),
    "plane": ("planes", ()),
    "optimizers": ("optimizers", ()),
    "base": ("optimizers", ("sgd", "adamw")),
    "model": ("models", ("mlp",)),
    "data": ("data", ("moons", "digits", "imagefolder")),
    "loss": ("losses", ()),
}
"""The parameters that take a name of a table with options, and the names that are cheap; none for all."""
NUMBERS = (
    "0",
    "-1",
    "1",
    "2",
    "0.5",
    "1e-300",
    "1e300",
    "nan",
    "inf",
    "-inf",
    str(2**63),
    str(-(2**70)),
    "x",
    "none",
    "",
)


@st.composite
def specifications(draw, parameter):
    """A name of the table that a parameter takes, with an option or two of any value."""
    kind, cheap = TABLED[parameter]
    module, attribute = TABLES[kind]
    table = getattr(importlib.import_module(module), attribute)
    name = draw(st.sampled_from(cheap or list(table)))
    options = table.row(name).options.values()
    chosen = (
        draw(st.lists(st.sampled_from(list(options)), max_size=2, unique_by=lambda o: o.name))
        if options
        else []
    )
    pairs = [f"{o.name}={draw(st.sampled_from([*o.choices, *NUMBERS]))}" for o in chosen]
    return f"{name}:{','.join(pairs)}" if pairs else name


@st.composite
def command_lines(draw):
    """A command with flags and arguments, one or two of them wrong."""
    name = draw(st.sampled_from(ATTACKED))
    parameters = command(name).params
    line = [name, *SMALL.get(name, ())]
    options = [p for p in parameters if isinstance(p, click.Option) and p.name != "trust"]
    words = []
    for option in draw(st.lists(st.sampled_from(options), max_size=4)) if options else []:
        if option.is_flag:
            line.append(draw(st.sampled_from([*option.opts, *option.secondary_opts])))
        else:
            words.append((option, [draw(st.sampled_from(option.opts))]))
    for argument in (p for p in parameters if isinstance(p, click.Argument)):
        count = (
            draw(st.sampled_from((1, 1, 2, 3)))
            if argument.nargs == -1
            else draw(st.sampled_from((1, 1, 1, 0)))
        )
        words += [(argument, [])] * count
    wrong = draw(st.sampled_from((0, 0, 0, 1, 1, 2)))
    for k, (parameter, start) in enumerate(draw(st.permutations(words))):
        pool = (
            [text for text in HOSTILE if allowed(name, parameter, text)]
            if k < wrong
            else good_values(name, parameter)
        )
        texts = [
            st.sampled_from(pool),
            *([specifications(parameter.name)] if parameter.name in TABLED else []),
        ]
        line += [*start, draw(st.one_of(texts))]
    return line


TOML = st.recursive(
    st.one_of(
        st.sampled_from(
            [
                *(
                    '""',
                    '"x"',
                    '"1"',
                    '"cpu"',
                    '"\\u0000"',
                    '"\\u001b[2J"',
                    "0",
                    "1",
                    "-1",
                    "0.5",
                    "nan",
                    "inf",
                    "-inf",
                ),
                *(
                    "true",
                    "false",
                    "1979-05-27",
                    "07:32:00",
                    "1979-05-27T07:32:00Z",
                    "9" * 30,
                    "9" * 5000,
                    "0x10",
                    "1e999",
                ),
            ]
        ),
        st.sampled_from([f'"{text}"' for texts in TEXTS.values() for text in texts]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2).map(lambda items: f"[{', '.join(items)}]"),
        inner.map(lambda item: f"{{x = {item}}}"),
    ),
    max_leaves=3,
)


def toml_value(name, option):
    """A value that the option may have, or one of any type."""
    if option.is_flag:
        return st.one_of(st.sampled_from(("true", "false")), TOML)
    good = [text for text in good_values(name, option) if text.isprintable()]
    return st.one_of(
        st.sampled_from(good).map(lambda text: text if text.isdigit() else json.dumps(text)), TOML
    )


@st.composite
def config_files(draw):
    """A command that takes ``-c``, and a file for it whose values may have any of TOML's types."""
    names = [name for name in ATTACKED if "config" in {p.name for p in command(name).params}]
    name = draw(st.sampled_from(names))
    known = {
        option.removeprefix("--"): p
        for p in command(name).params
        if isinstance(p, click.Option)
        for option in p.opts
        if option.startswith("--") and p.name not in ("config", "jobs", "epochs", "trust", "help")
    }
    chosen = draw(st.lists(st.sampled_from(list(known)), min_size=1, max_size=3, unique=True))
    text = "\n".join(f"{key} = {draw(toml_value(name, known[key]))}" for key in chosen)
    place = {"train": (), "list": ("models",), "plot": ("s.npz",)}.get(name, ("runs/sgd-0",))
    small = [flag for flag in SMALL.get(name, ()) if flag != "-q"]
    pairs = list(zip(small[::2], small[1::2], strict=True))
    kept = [
        word
        for flag, value in pairs
        if not {flag, *ALIASES.get(flag, ())} & {f"--{key}" for key in chosen}
        for word in (flag, value)
    ]
    return [name, *kept, *place, "-c", "c.toml"], text


ALIASES = {"-m": ("--model",), "-d": ("--data",), "-M": ("--measure",), "-o": ("--output",)}
