"""The command line. Nothing heavy is imported before a command needs it."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from benchmark.cli_cache import LOCATION, PATH, cache, cache_option, opened
from benchmark.errors import InputError, Stopped
from benchmark.exits import code_of, listening
from benchmark.wording import endure, json_text, say

if TYPE_CHECKING:
    from benchmark.plugins import Registry
    from benchmark.suite import Suite

KIND_NAMES = (
    *("dataset", "model", "attack", "defense", "artifact"),
    *("metric", "executor", "reporter", "panel", "converter"),
)

tags_option = click.option(
    "--tags", is_flag=True, help="Also the MITRE ATLAS and NIST AI 100-2 tags of attacks and defenses; imports them."
)
plugin_option = click.option(
    "--plugin", "plugins", multiple=True, metavar="MODULE", help="Load a plugin module that is not installed."
)
suite_options = [
    click.option("--profile", metavar="P", help="Use a profile of the suite."),
    click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value of the suite."),
    cache_option,
    click.option(
        "--only", multiple=True, metavar="FILTER", help="Only the cells that fit, such as 'attack=pgd*,defense=none'."
    ),
    click.option("--shard", metavar="I/N", help="Only part I of N of the grid."),
    plugin_option,
]


executor_options = [
    click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True),
    click.option("--executor", default="local", show_default=True, metavar="NAME", help="Who runs the tasks."),
    click.option("--workers", type=click.IntRange(min=1), metavar="N", help="Worker processes [one per GPU or core]."),
    click.option(
        "--ray-address", type=LOCATION, metavar="ADDRESS", help="Ray cluster to join [RAY_ADDRESS, or one of its own]."
    ),
    click.option(
        "--executor-set",
        multiple=True,
        metavar="NAME=VALUE",
        help="An option of the executor; `bench show executor NAME` lists them.",
    ),
    click.option(
        "--task-timeout",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SECONDS",
        help="End a task that takes longer: its cells fail, the rest goes on.",
    ),
    click.option(
        "--retries",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        metavar="N",
        help="Try a task again that lost its worker, took too long or met an error that no message foresees.",
    ),
]


def with_options(*groups: Sequence[Any]) -> Any:
    """Add options that commands share."""

    def add(command: Any) -> Any:
        for option in reversed([option for group in groups for option in group]):
            command = option(command)
        return command

    return add


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unmask-bench", prog_name="bench")
def cli() -> None:
    """Evaluate defenses and detectors against adversarial attacks on image classifiers."""
    if "" not in sys.path and os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # so that --plugin finds a module in the current folder


@cli.command()
@click.argument("suite")
@with_options(suite_options)
@click.option("--output", type=PATH, metavar="DIR", help="Run directory [runs/<suite>-<profile>].")
@with_options(executor_options)
@click.option("--fresh", is_flag=True, help="Make every artifact anew.")
@click.option("--no-report", is_flag=True, help="Write the tables only.")
@click.option("--replace", is_flag=True, help="Put this run in the place of another that --output holds.")
def run(
    suite: str,
    profile: str | None,
    sets: Sequence[str],
    cache: str | None,
    only: Sequence[str],
    shard: str | None,
    plugins: Sequence[str],
    output: Path | None,
    device: str,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    executor_set: Sequence[str],
    task_timeout: float | None,
    retries: int,
    fresh: bool,
    no_report: bool,
    replace: bool,
) -> int:
    """Run what is missing of SUITE (a path, or the name of a shipped suite), then write the report."""
    registry, loaded = _load(suite, profile, sets, plugins, only)
    part = _parse_shard(shard)
    from benchmark.executors import prepared

    # First: what is imported below takes seconds, too.
    executing = prepared(executor, _executor_options(workers, ray_address, executor_set), loaded, registry)
    from benchmark.display import make_display
    from benchmark.run import RunRequest, default_output, resolve_device, run_suite
    from benchmark.store.location import default_cache

    display = make_display()
    try:
        request = RunRequest(
            output=output or default_output(loaded, part, only, sets),
            cache=cache or default_cache(),
            device=resolve_device(device, executing),
            executor=executor,
            workers=workers,
            task_timeout=task_timeout,
            retries=retries,
            part=part,
            fresh=fresh,
            report=not no_report,
            replace=replace,
            command=["bench", *sys.argv[1:]],
        )
        return run_suite(loaded, registry, request, executing, display)
    finally:
        display.close()


@cli.command()
@click.argument("suite")
@with_options(suite_options)
@click.option("--summary", is_flag=True, help="Also count the cells of each defense.")
@click.option("--tasks", is_flag=True, help="Also list the tasks to run.")
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
def plan(
    suite: str,
    profile: str | None,
    sets: Sequence[str],
    cache: str | None,
    only: Sequence[str],
    shard: str | None,
    plugins: Sequence[str],
    summary: bool,
    tasks: bool,
    as_json: bool,
) -> None:
    """Show cells, tasks, what is cached and the estimated cost of SUITE; check that all it needs is there."""
    registry, loaded = _load(suite, profile, sets, plugins, only)
    part = _parse_shard(shard)
    from benchmark.inspection import describe_plan, plan_facts
    from benchmark.plan.plan import shard as take_part
    from benchmark.plan.planner import make_plan

    made = make_plan(loaded, registry)
    if part is not None:
        made = take_part(made, *part)
    facts = plan_facts(made, opened(cache), registry)
    say(json_text(facts) if as_json else describe_plan(facts, summary, tasks))


@cli.command("verify-attack")
@click.argument("suite")
@with_options(suite_options)
@click.option(
    "--images", type=click.IntRange(min=1), default=50, show_default=True, metavar="N", help="Problems per attack."
)
@click.option("-o", "--output", type=PATH, metavar="FILE", help="Also write it as .csv or .json.")
@with_options(executor_options)
def verify_attack(
    suite: str,
    profile: str | None,
    sets: Sequence[str],
    cache: str | None,
    only: Sequence[str],
    shard: str | None,
    plugins: Sequence[str],
    images: int,
    output: Path | None,
    device: str,
    executor: str,
    workers: int | None,
    ray_address: str | None,
    executor_set: Sequence[str],
    task_timeout: float | None,
    retries: int,
) -> int:
    """Set the attacks of SUITE problems with a known solution on the features of their networks."""
    if shard is not None:
        raise InputError("--shard: tests of attacks are not split; choose some by --only.")
    registry, loaded = _load(suite, profile, sets, plugins, only)
    from benchmark.executors import prepared

    # First, as in `run`.
    executing = prepared(executor, _executor_options(workers, ray_address, executor_set), loaded, registry)
    from benchmark.display import make_display
    from benchmark.run import resolve_device
    from benchmark.store.location import default_cache
    from benchmark.verification import verify_suite

    display = make_display()
    try:
        return verify_suite(
            loaded,
            registry,
            executing,
            display,
            cache=cache or default_cache(),
            device=resolve_device(device, executing),
            images=images,
            output=output,
            task_timeout=task_timeout,
            retries=retries,
        )
    finally:
        display.close()


@cli.command()
@click.argument("suites", nargs=-1, required=True, metavar="SUITE...")
@click.option("--profile", metavar="P", help="Validate with this profile only [all profiles].")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="Override a value of the suite.")
@plugin_option
def validate(suites: Sequence[str], profile: str | None, sets: Sequence[str], plugins: Sequence[str]) -> None:
    """Check the schema and the names of suites, without looking at data and networks, as plan does."""
    from benchmark.suite import load_suite

    registry = _registry(plugins)
    for name in suites:
        loaded = load_suite(name, registry=registry, profile=profile, sets=sets)
        checked = [profile] if profile else [None, *loaded.profiles]
        for other in checked[1:]:
            load_suite(name, registry=registry, profile=other, sets=sets)
        told = ", ".join(p or "as it stands" for p in checked)
        say(f"{name}: valid ({told}); {len(loaded.grid)} grid entries")
    say("Data and networks were not looked at: `bench plan` does, and tells what does not fit them.")


@cli.command()
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@plugin_option
def suites(as_json: bool, plugins: Sequence[str]) -> None:
    """List the suites that ship with installed distributions, and what each needs."""
    from benchmark.inspection import describe_suites, suite_facts

    facts = suite_facts(_registry(plugins))
    say(json_text(facts) if as_json else describe_suites(facts))


@cli.command(context_settings={"ignore_unknown_options": True, "allow_extra_args": True})
@click.argument("suite")
@click.option(
    "--shards", type=click.IntRange(min=1), required=True, metavar="N", help="Jobs that the grid is cut into."
)
@click.option("--cluster", type=click.Choice(["slurm", "local"]), default="slurm", show_default=True)
@click.option(
    "--job-set",
    multiple=True,
    metavar="NAME=VALUE",
    help="A parameter of the job by submitit's names, such as slurm_partition=gpu, timeout_min=600, gpus_per_node=1.",
)
@click.option("--logs", type=PATH, default=Path("runs/jobs"), show_default=True, metavar="DIR", help="Logs.")
@click.option("--wait", is_flag=True, help="Wait for all jobs, then merge.")
@click.pass_context
def submit(
    context: click.Context, suite: str, shards: int, cluster: str, job_set: Sequence[str], logs: Path, wait: bool
) -> int:
    """Give the shards of SUITE to a batch system, one job each; options of `bench run` follow."""
    given = run.make_context("bench submit", [suite, *context.args]).params
    if given["shard"] is not None:
        raise InputError("--shard: bench submit cuts the grid itself, into as many parts as --shards says.")
    parameters = _named_values("--job-set", job_set, "timeout_min=600")
    registry, loaded = _load(suite, given["profile"], given["sets"], given["plugins"], given["only"])
    from benchmark.plan.plan import shard as take_part
    from benchmark.plan.planner import make_plan
    from benchmark.run import default_output
    from benchmark.store.location import absolute, check_location, default_cache
    from benchmark.submission import merge_command, submit_shards, wait_for

    cache = absolute(given["cache"] or default_cache())
    check_location(cache)
    made = make_plan(loaded, registry)
    for index in range(1, shards + 1):
        take_part(made, index, shards)
    whole = given["output"] or default_output(loaded, None, given["only"], given["sets"])
    if whole.name in ("", ".."):  # the shards' folders are called after it
        whole = Path(os.path.abspath(whole))
        if not whole.name:
            raise InputError(f"--output {str(whole)!r}: the folders of shards are beside it. Name another folder.")
    outputs = [whole.with_name(f"{whole.name}-{index}of{shards}") for index in range(1, shards + 1)]
    arguments = list(context.args)
    if given["output"] is not None:  # shards have folders of their own; the last one counts
        arguments = [word for word in arguments if not word.startswith("--output=")]
        while "--output" in arguments:
            at = arguments.index("--output")
            del arguments[at : at + 2]
    jobs = submit_shards(suite, arguments, outputs, cluster=cluster, parameters=parameters, logs=logs)
    if not wait:
        say(f"when they have ended: {merge_command(outputs, whole, given['plugins'], cache)}")
        return 0
    wait_for(jobs, outputs)
    from benchmark.display import make_display
    from benchmark.merge import merge_runs

    display = make_display()
    try:
        return merge_runs(
            outputs,
            whole,
            registry,
            display,
            caches=[cache],
            report=not given["no_report"],
            replaces=given["replace"],
            command=["bench", *sys.argv[1:]],
        )
    finally:
        display.close()


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("-o", "--output", type=PATH, metavar="DIR", required=True, help="Run directory.")
@click.option(
    "--cache",
    "caches",
    multiple=True,
    metavar="DIR|URL",
    type=LOCATION,
    help="A cache of the shards, where it is not the default one; the first has, or gets, all answers.",
)
@click.option("--no-report", is_flag=True, help="Write the tables only.")
@click.option("--replace", is_flag=True, help="Put this run in the place of another that --output holds.")
@plugin_option
def merge(
    runs: Sequence[Path],
    output: Path,
    caches: Sequence[str],
    no_report: bool,
    replace: bool,
    plugins: Sequence[str],
) -> int:
    """Make one run of the shards of a suite (`bench run SUITE --shard I/N`), as if nobody had split it."""
    registry = _registry(plugins)
    from benchmark.display import make_display
    from benchmark.merge import merge_runs

    display = make_display()
    try:
        return merge_runs(
            runs,
            output,
            registry,
            display,
            caches=caches,
            report=not no_report,
            replaces=replace,
            command=["bench", *sys.argv[1:]],
        )
    finally:
        display.close()


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("-o", "--output", type=PATH, metavar="DIR", help="[RUN/report]")
@click.option("--single-file", is_flag=True, help="Everything in one HTML file.")
@plugin_option
def report(runs: Sequence[Path], output: Path | None, single_file: bool, plugins: Sequence[str]) -> int:
    """(Re)build the report of one run, or compare several."""
    from benchmark.reporting import write_reports

    if output is None and len(runs) > 1:
        raise InputError("comparing several runs needs a place for the report: give -o DIR.")
    return _written("report", *write_reports(_registry(plugins), runs, output or runs[0] / "report", single_file))


@cli.command()
@click.argument("runs", nargs=-1, required=True, type=PATH, metavar="RUN...")
@click.option("-o", "--output", type=PATH, metavar="DIR", required=True, help="Where to write.")
@plugin_option
def leaderboard(runs: Sequence[Path], output: Path, plugins: Sequence[str]) -> int:
    """Rank the defenses of many runs, where images, network, attacks, attacker and protocol are equal."""
    from benchmark.reporting import write_leaderboards

    return _written("leaderboard", *write_leaderboards(_registry(plugins), runs, output))


@cli.command()
@click.argument("run_directory", type=PATH, metavar="RUN")
@click.option("--format", "form", type=click.Choice(["csv", "parquet", "json"]), default="csv", show_default=True)
@click.option(
    "--what",
    type=click.Choice(
        ["metrics", "samples", "curves", "comparisons", "groups", "artifacts", "alarms", "probes", "trust", "costs"]
    ),
    default="metrics",
    show_default=True,
)
@click.option("-o", "--output", type=PATH, metavar="FILE", help="[standard output]")
def export(run_directory: Path, form: str, what: str, output: Path | None) -> None:
    """Write a table of a run to standard output or a file."""
    from benchmark.results.export import export as write
    from benchmark.results.read import load_run

    write(load_run(run_directory), what, form, output)


@cli.command("plugins")
@click.option("--kind", type=click.Choice(KIND_NAMES), help="Only this kind.")
@tags_option
@click.option("--json", "as_json", is_flag=True, help="Machine-readable.")
@plugin_option
def list_plugins(kind: str | None, tags: bool, as_json: bool, plugins: Sequence[str]) -> None:
    """List what is installed, and from where."""
    from benchmark.inspection import describe_plugins, plugin_facts

    facts = plugin_facts(_registry(plugins), kind, tags)
    say(json_text(facts) if as_json else describe_plugins(facts))


@cli.command()
@click.argument("kind", type=click.Choice(KIND_NAMES))
@click.argument("name")
@tags_option
@plugin_option
def show(kind: str, name: str, tags: bool, plugins: Sequence[str]) -> None:
    """Show one component: what it is, where it comes from, its options."""
    from benchmark.inspection import describe_component

    say(describe_component(_registry(plugins).get(kind, name), tags))


@cli.command()
@plugin_option
def schema(plugins: Sequence[str]) -> None:
    """Print the JSON Schema of suite files, for editors."""
    from benchmark.schema import suite_schema

    say(json_text(suite_schema(_registry(plugins))))


@cli.group()
def data() -> None:
    """Bring data into the form that a data set reads."""


@data.command(
    context_settings={"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []},
    options_metavar="",
)
@click.argument("name", required=False)
@plugin_option
@click.pass_context
def prepare(context: click.Context, name: str | None, plugins: Sequence[str]) -> None:
    """Run the converter NAME with its options (`NAME --help` lists them); without NAME, list the converters."""
    if name in ("-h", "--help"):  # behind a NAME it asks for the options of that
        click.echo(context.get_help())
        return
    registry = _registry(plugins)
    if name is None:
        for registration in registry.all("converter"):
            say(f"{registration.name}: {registration.summary}")
        say("`bench data prepare NAME --help` lists the options of one.")
        return
    from benchmark.conversion import convert

    say(convert(registry.get("converter", name), context.args, "bench data prepare"))


@cli.command()
@plugin_option
def doctor(plugins: Sequence[str]) -> None:
    """Show versions, devices, the data sets that are found and the plugins that failed."""
    from benchmark.inspection import describe_machine
    from benchmark.store.location import default_cache

    say(describe_machine(_registry(plugins), default_cache()))


cli.add_command(cache)


def _written(what: str, written: Sequence[Path], problems: Sequence[str]) -> int:
    """Say what reporters have written and what went wrong, and return the exit code."""
    for path in written:
        say(f"{what}: {path}")
    for problem in problems:
        say(f"error: {problem}", err=True)
    return 1 if problems else 0


def _registry(modules: Sequence[str]) -> Registry:
    from benchmark.plugins import load_plugins

    return load_plugins(modules)


def _load(
    suite: str, profile: str | None, sets: Sequence[str], modules: Sequence[str], only: Sequence[str]
) -> tuple[Registry, Suite]:
    from benchmark.suite import load_suite

    registry = _registry(modules)
    return registry, load_suite(suite, registry=registry, profile=profile, sets=sets, only=only)


def _executor_options(workers: int | None, ray_address: str | None, sets: Sequence[str]) -> dict[str, Any]:
    """Return the options of the executor that the command line names."""
    options = _named_values("--executor-set", sets, "memory=2")
    given = {"workers": workers, "address": ray_address}
    return options | {name: value for name, value in given.items() if value is not None}


def _named_values(option: str, sets: Sequence[str], example: str) -> dict[str, Any]:
    """Return what NAME=VALUE says, as YAML reads values."""
    from benchmark.document import core_scalar

    values: dict[str, Any] = {}
    for text in sets:
        name, equals, value = text.partition("=")
        if not equals:
            raise InputError(f"{option} {text!r}: write NAME=VALUE, for example {example}.")
        try:
            values[name] = core_scalar(value)
        except ValueError as error:
            raise InputError(f"{option} {name}: {error}.") from None
    return values


def _parse_shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    try:
        index, count = (int(number) for number in text.split("/"))
    except ValueError:
        index = count = 0
    if not 1 <= index <= count:
        raise InputError(f"--shard {text!r}: write I/N with 1 <= I <= N, for example 2/8.")
    return index, count


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit.

    Exit codes: 0 done, 1 some cells have no numbers, 2 unusable input or nothing to run it with, 130 interrupted by
    Ctrl-C, 143 terminated by SIGTERM (129 by SIGHUP).
    """
    endure()
    given = None if arguments is None else list(arguments)
    stops: list[Stopped] = []
    try:
        with listening(stops):
            code = cli.main(args=given, prog_name="bench", standalone_mode=False)
    except (Exception, SystemExit) as error:
        code = code_of(error, stops)
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
