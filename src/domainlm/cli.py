"""The verbs, and nothing else. stdout carries data, stderr the talk."""

import json
import os
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from domainlm import __version__
from domainlm.console import clean, say
from domainlm.errors import DIFFERENCE, GATE_UNMET, DomainLMError

if TYPE_CHECKING:
    from domainlm.artifacts import Manifest
    from domainlm.recipe import Recipe

app = typer.Typer(
    name="domainlm",
    help="A corpus in; a domain language model, and the evidence of what it is worth, out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
RecipeName = Annotated[str, typer.Argument(help="a built-in recipe or a TOML file")]
Corpus = Annotated[str | None, typer.Option(help="the same as --set source.path=PATH")]
Overrides = Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE, repeatable")]
Runs = Annotated[Path, typer.Option(help="folder of all runs")]
Name = Annotated[str | None, typer.Option(help="name of the run (default: the recipe's)")]
Offline = Annotated[bool, typer.Option("--offline", help="ask no server for anything")]
Json = Annotated[bool, typer.Option("--json", help="data on stdout")]


def _recipe(name: str, corpus: str | None, overrides: list[str] | None) -> "Recipe":
    from domainlm import recipes

    given = list(overrides or ())
    if corpus is not None:
        given.append(f"source.path={json.dumps(corpus)}")
    return recipes.load(name, given)


@app.command()
def run(
    recipe: RecipeName,
    corpus: Corpus = None,
    overrides: Overrides = None,
    until: Annotated[str, typer.Option(help="last stage to run")] = "report",
    runs: Runs = Path("runs"),
    name: Name = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="remove the run first")] = False,
    offline: Offline = False,
    debug: Annotated[bool, typer.Option("--debug", help="show tracebacks")] = False,
) -> None:
    """Run the pipeline, from what is missing or stale onwards."""
    from domainlm import pipeline

    if until not in pipeline.STAGES:
        raise DomainLMError(
            f"there is no stage {until!r}",
            why=f"the stages are {', '.join(pipeline.STAGES)}",
            exit_code=2,
        )
    command = _command(recipe, corpus, overrides)
    if pipeline.followed():
        return
    started = pipeline.start(
        _recipe(recipe, corpus, overrides), runs, name, offline, command, fresh
    )
    try:
        pipeline.execute(started, until)
        pipeline.leave()
    except KeyboardInterrupt as interrupt:
        raise DomainLMError("stopped; the same command goes on from here") from interrupt
    page = started.root / "report" / "index.html"
    if until == "report":
        say(f"the report: {page}", style="bold")
    if unmet := pipeline.gates(started):
        say("\n".join(unmet), style="red")
        raise typer.Exit(GATE_UNMET)


@app.command()
def plan(
    recipe: RecipeName,
    corpus: Corpus = None,
    overrides: Overrides = None,
    runs: Runs = Path("runs"),
    name: Name = None,
    offline: Offline = False,
    as_json: Json = False,
) -> None:
    """Say what a run would do: each stage cached, stale (and why) or to do, and what arms take."""
    import dataclasses

    from domainlm import pipeline
    from domainlm.training import estimate

    command = _command(recipe, corpus, overrides)
    started = pipeline.start(_recipe(recipe, corpus, overrides), runs, name, offline, command)
    stages = pipeline.plan(started)
    stock = started.stock.title if started.stock else "none resolves"
    crawl = pipeline.crawl_estimate(started, stages)
    arms = estimate.estimate(started, {s.stage for s in stages if s.state == "cached"})
    card = estimate.card(started, arms)
    if as_json:
        found = {
            "stages": [dataclasses.asdict(s) for s in stages],
            "stock": stock,
            "crawl": dataclasses.asdict(crawl) if crawl else None,
            "arms": [dataclasses.asdict(a) for a in arms],
            "card": dataclasses.asdict(card) if card else None,
        }
        print(json.dumps(found))
        return
    for stage in stages:
        tasks = f" ({stage.cached} tasks)" if stage.state == "cached" else ""
        print(f"{stage.stage:9} {stage.state}{tasks}")
        for reason in stage.reasons[:3]:
            print(f"          {reason}")
        if len(stage.reasons) > 3:
            print(f"          and {len(stage.reasons) - 3} more")
    if crawl:
        print(f"crawl     {crawl}")
    for arm in arms:
        print(f"{arm.arm:9} {arm}")
        for warning in arm.warnings:
            print(f"          warning: {warning}")
    if card:
        print(f"12 GB     {card}")
    print(f"stock     {stock}")


@app.command()
def evaluate(
    model: Annotated[str, typer.Argument(help="a folder, a Hub id or a GGUF file")],
    on: Annotated[Path, typer.Option("--on", help="a run directory")],
    name: Annotated[str | None, typer.Option(help="what the evidence calls it")] = None,
    offline: Offline = False,
) -> None:
    """Measure any causal language model on a run's held-out text, beside the run's own models."""
    from domainlm import pipeline, recipes

    if not (on / "evaluation" / "evidence.json").is_file():
        raise _no_run(on)
    recipe = recipes.load(str(on / "recipe.toml"))
    pipeline.evaluate(recipe, on.absolute(), model, name, offline)
    say(f"the report: {on / 'report' / 'index.html'}", style="bold")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="a run directory")]) -> None:
    """Make the report, image, card and post again; reads only the run directory."""
    from domainlm import pipeline, recipes
    from domainlm.artifacts import Manifest, Run

    if not (run / "recipe.toml").is_file():
        raise _no_run(run)
    recipe = recipes.load(str(run / "recipe.toml"))
    started = Run(run.absolute(), recipe, Manifest(run.absolute()), stock=None)
    pipeline.execute_stage(started, "report", again=True)
    say(f"the report: {started.root / 'report' / 'index.html'}", style="bold")


@app.command()
def play(
    run: Annotated[Path, typer.Argument(help="a run directory")],
    port: Annotated[int, typer.Option(help="on this machine alone; 0: any")] = 8321,
    models: Annotated[list[str] | None, typer.Option("--model", help="which to load")] = None,
) -> None:
    """Open the playground: the run's models side by side in the browser, on this machine alone."""
    from domainlm.playground import server

    if not (run / "corpus" / "prompts.json").is_file():
        raise _no_run(run)
    server.serve(run, port=port, models=models or ())


@app.command()
def share(
    run: Annotated[Path, typer.Argument(help="a run directory")],
    to: Annotated[Path | None, typer.Option(help="the zip (default: RUN-share.zip)")] = None,
    weights: Annotated[bool, typer.Option("--weights", help="the models' weights too")] = False,
) -> None:
    """Zip what may be sent: report, cards, evidence, samples and manifest, never the corpus."""
    from domainlm.report import share as share_

    found = share_.share(run, to, weights)
    for note in found.notes:
        say(note)
    print(found.path)


@app.command()
def verify(
    run: Annotated[Path, typer.Argument(help="a run directory")],
    token: Annotated[int | None, typer.Option(help="trace this token to its source")] = None,
    split: Annotated[str, typer.Option(help="of the token: train or validation")] = "train",
    arm: Annotated[str, typer.Option(help="of the token: whose shards (default: tokens/)")] = "",
    as_json: Json = False,
) -> None:
    """Re-hash all files of a run, or trace one token to its source; say what differs (exit 4)."""
    from domainlm.artifacts import Manifest
    from domainlm.report import share as share_

    if not (run / "manifest.json").is_file():
        raise _no_run(run)
    manifest = Manifest(run)
    if token is not None:
        differences = _trace(run, manifest, arm, split, token, as_json)
    else:
        differences = share_.differences(run)
    count = len(manifest.output_hashes())
    if as_json and token is None:
        print(json.dumps({"files": count, "differences": differences}))
    for difference in differences:
        print(clean(difference), file=sys.stderr if as_json else sys.stdout)
    for line in share_.spared(run) if token is None else ():
        say(line)
    if differences:
        say(f"{len(differences)} files differ from the manifest", style="bold")
        raise typer.Exit(DIFFERENCE)
    if token is None:
        say(f"{count} files are what the manifest says")


def _trace(
    run: Path, manifest: "Manifest", arm: str, split: str, token: int, as_json: bool
) -> list[str]:
    """Print where a token comes from; returns how the files that tell it differ."""
    import dataclasses

    from domainlm import recipes
    from domainlm.artifacts import sha256_file
    from domainlm.corpus import origin
    from domainlm.tokens import lineage
    from domainlm.tokens.stage import folder_of

    given = recipes.load(str(run / "recipe.toml"))
    source = given.source
    inits = {a.name: a.init for a in given.train} | {"": None}
    init = inits.get(arm, arm)  # a folder's name does too
    folder = folder_of(init, arm) if init else "tokens"
    found = lineage.trace(run, folder, split, token, lambda d: origin.own_bytes(run, source, d))
    facts = dataclasses.asdict(found)
    if as_json:
        print(json.dumps(facts))
    else:
        facts |= {"text": repr(found.text), "source": found.source or "not read"}
        for key, value in facts.items():
            print(clean(f"{key:14} {value}"))
    known = manifest.output_hashes()
    files = (found.shard, found.table, f"{folder}/index.json", f"{folder}/tokenizer.json")
    return [
        f"{path}: differs from the manifest"
        for path in files
        if sha256_file(run / path) != known.get(path)
    ]


@app.command()
def doctor(offline: Offline = False, as_json: Json = False) -> None:
    """Look at the machine: device, measured rates, memory, disk, stock model, extras."""
    from domainlm.training import hardware

    found = hardware.measure(offline=offline)
    if as_json:
        print(json.dumps(found))
        return
    for key, value in found.items():
        print(f"{key:22} {value}")


recipes_app = typer.Typer(invoke_without_command=True, help="List the built-in recipes.")
app.add_typer(recipes_app, name="recipes")


@recipes_app.callback()
def recipes(context: typer.Context) -> None:
    """List the built-in recipes, each with its first line."""
    from domainlm.recipes import built_in

    if context.invoked_subcommand is None:
        for name, text in built_in().items():
            print(f"{name:16} {text.splitlines()[0].lstrip('# ')}")


@recipes_app.command()
def show(name: Annotated[str, typer.Argument(help="a built-in recipe")]) -> None:
    """Print a recipe: `domainlm recipes show demo > mine.toml` is how one's own begins."""
    from domainlm.recipes import built_in, load

    texts = built_in()
    if name not in texts:
        load(name)  # raises, with a did-you-mean
    print(texts.get(name, ""), end="")


def _no_run(path: Path) -> DomainLMError:
    return DomainLMError(
        f"{path} is not a run directory",
        why="it has no manifest or recipe",
        fix="give the folder that `domainlm run` made, such as runs/demo",
        exit_code=2,
    )


def _command(recipe: str, corpus: str | None, overrides: list[str] | None) -> str:
    """The command that makes a run again: only what decides its content (and no address)."""
    words = ["domainlm", "run", recipe, *(["--corpus", corpus] if corpus else [])]
    kept = [o for o in overrides or () if not o.startswith(("source.contact=", "source.rate="))]
    return shlex.join([*words, *(word for o in kept for word in ("--set", o))])


def _version(value: bool) -> None:
    if value:
        print(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """A corpus in; a domain language model, and the evidence of what it is worth, out."""


def main() -> NoReturn:
    """Entry point: errors are what, where, why and fix; a traceback only with --debug."""
    # transformers' hints on missing GPU kernels are for those who ask for them.
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    try:
        app()
    except DomainLMError as error:
        if "--debug" in sys.argv:
            raise
        say(f"error: {error}", style="red")
        sys.exit(error.exit_code)
    except Exception as error:
        if "--debug" in sys.argv:
            raise
        say(f"error: {type(error).__name__}: {error}", style="red")
        say("  fix:   give the same command with --debug for the traceback, and report it")
        sys.exit(1)
    sys.exit(0)
