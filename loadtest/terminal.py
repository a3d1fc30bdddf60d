"""A run as lines for a terminal: the plan, each round, the summary, and the commands to type next."""

import shlex
from collections.abc import Iterator, Sequence

from loadtest.advice import advise
from loadtest.pages import mib, ms
from loadtest.plan import LoadPlan
from loadtest.report import LoadReport
from loadtest.round_stats import Percentiles, Spread
from loadtest.rounds import RoundResult
from loadtest.server_metrics import stage_times
from loadtest.target import LoadTarget


def header(plan: LoadPlan) -> Iterator[str]:
    """Yield the plan: models, rounds, load, inputs and batch settings."""
    stress = plan.stress
    load = f"{stress.clients} at a time" if stress.rate is None else f"{stress.rate:g} a second ({stress.arrivals})"
    names = " + ".join(f"{each.model} {each.version}" if each.version else each.model for each in plan.targets)
    yield f"{names} at {plan.target.url}: {stress.rounds} x {plan.length}, {load}, {plan.source}"
    for target in plan.targets:
        yield from _target_lines(target, named=len(plan.targets) > 1)


def _target_lines(target: LoadTarget, *, named: bool) -> Iterator[str]:
    of = f"{target.model}: " if named else ""
    if target.batching is not None:
        now = target.batching
        more = f", threads {now.threads}" if now.threads else ""
        more += f", coalesce {now.coalesce}" if now.coalesce else ""
        delay = f"max_batch_delay {now.max_batch_delay_ms} ms"
        yield f"{of}batch_size {now.batch_size}, {delay}, workers {now.workers}{more}"
    if target.weights == "random":
        yield f"{of}weights: random. The speed is the model's, the answers mean nothing."


def round_line(one: RoundResult, plan: LoadPlan) -> str:
    """Return the throughput of one round, and its errors if there are any."""
    line = f"Performance: {one.rate:.2f} {plan.unit}/s"
    line += f", {one.failed} of {one.requests} failed" if one.failed else ""
    return line if one.complete else f"{line} (broken off)"


def footer(report: LoadReport) -> Iterator[str]:
    """Yield throughput, latency, errors, and the use of time, CPU and memory."""
    unit = report.plan.unit
    if report.interrupted:
        yield "Interrupted: what follows is of the part that was measured."
    if report.rate is not None:
        # A single round has no spread.
        spread = f" ± {report.rate.std:.2f}" if len(report.rounds) > 1 else ""
        yield f"Performance: {report.rate.mean:.2f}{spread} {unit}/s over {_rounds(report)}"
    if report.latency_ms is not None:
        found = report.latency_ms
        yield (
            f"Latency: p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f}, p99.9 {found.p999:.1f}, "
            f"max {found.max:.1f} ms"
        )
    yield from _error_lines(report)
    if report.episodes:
        played = Spread.of(report.episodes)
        yield f"Played: {len(report.episodes)} episodes, return {played.mean:.1f} ± {played.std:.1f}"
    yield from _round_table(report)
    yield from _server_lines(report)
    yield from _generator_lines(report)


def advice(report: LoadReport, overrides: Sequence[str]) -> Iterator[str]:
    """Yield the commands to type next. `overrides` are those of this run."""
    found = None if report.interrupted or len(report.plan.targets) > 1 else advise(report)
    if found is None:
        return
    model = report.plan.target.model
    params = "served_model.request_params"
    yield "Try next:"
    yield f"  batch_size {found.batch_size}: {found.why_batch_size}"
    yield f"  max_batch_delay {found.max_batch_delay_ms}: {found.why_max_batch_delay}"
    yield (
        f"  make upload_model MODEL={model} "
        f'ARGS="{params}.batch_size={found.batch_size} {params}.max_batch_delay={found.max_batch_delay_ms}"'
    )
    # The same load again, so that the two runs differ in the two settings alone.
    same = [one for one in overrides if _is_load(one.split("=", 1)[0].lstrip("+~"))]
    arguments = f" ARGS={shlex.quote(shlex.join(same))}" if same else ""
    yield f"  make run_stress MODEL={model}{arguments}"


def _is_load(key: str) -> bool:
    """Return True for an override that the next run needs; its report must have another name."""
    return key.split(".")[0] in {"stress", "gateway"} and key != "stress.report"


def _rounds(report: LoadReport) -> str:
    complete = sum(one.complete for one in report.rounds)
    if complete == 0:
        return "a round that was broken off"
    return "1 round" if complete == 1 else f"{complete} rounds"


def _error_lines(report: LoadReport) -> Iterator[str]:
    failed = sum(report.errors.values())
    yield f"Errors: {failed} of {report.requests} requests" if failed else f"Errors: none in {report.requests} requests"
    for kind, count in report.errors.items():
        yield f"  {count:>6}  {kind}"
    if report.warmup is not None and report.warmup.failed:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in report.warmup.errors)
        yield f"  in the warm-up: {kinds}"


def _round_table(report: LoadReport) -> Iterator[str]:
    rows = [["round", "answers", f"{report.plan.unit}/s", "p50", "p90", "p99", "p99.9", "max ms", "failed"]]
    for number, one in enumerate(report.rounds, 1):
        rows.append(_row(str(number), one.items, one.rate, one.latencies_ms, one.failed))
        if len(one.parts) > 1:
            rows += [_row(p.model, p.items, p.items / one.seconds, p.latencies_ms, p.failed) for p in one.parts]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        yield "  " + "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True))


def _row(name: str, items: int, rate: float, latencies: tuple[float, ...], failed: int) -> list[str]:
    found = Percentiles.of(latencies) if latencies else None
    times = [found.p50, found.p90, found.p99, found.p999, found.max] if found else []
    return [name, str(items), f"{rate:.1f}", *(f"{time:.1f}" for time in times), *["-"] * (5 - len(times)), str(failed)]


def _server_lines(report: LoadReport) -> Iterator[str]:
    for reason in report.unread:
        yield f"Warning: not known from the servers' figures: {reason}"
    for side in report.servers:
        pieces = ", ".join(f"{name} {ms(value)}" for name, value in stage_times(vars(side.stages), side.engine))
        if pieces:
            yield f"Time of a request of {side.model} (means): {pieces}"
        if side.batches.requests_per_batch is not None and side.batches.fill is not None:
            line = f"Batches: {side.batches.requests_per_batch:.1f} requests, {side.batches.fill:.0%} full"
            joined = side.batches.coalesced
            yield line + (f", {joined:.1f} states in one engine request" if joined is not None else "")
    if report.usage:
        each = (
            f"{name} {sum(one.cores for one in found) / len(found):.2f} cores, {mib(max(one.memory for one in found))}"
            for name, found in report.usage.items()
        )
        yield f"Used: {'; '.join(each)}"


def _generator_lines(report: LoadReport) -> Iterator[str]:
    found = [one.generator for one in report.rounds if one.generator is not None]
    if found:
        late = max(max(one.loop_lag_ms, one.send_lag_ms) for one in found)
        share = max(one.cpu_share for one in found)
        yield f"Load generator: at most {share:.0%} of its core, {late:.1f} ms late (p99 of the worst round)"
    for doubt in report.doubts:
        yield f"Warning: {doubt}; the figures may be its own, take them as a lower bound"
