"""A run in lines for a terminal."""

import shlex
from collections.abc import Iterator, Sequence

from loadtest.advice import advise
from loadtest.measure import Round
from loadtest.plan import Plan
from loadtest.report import Report


def header(plan: Plan) -> Iterator[str]:
    """What is going to be loaded, how, and with what."""
    target = plan.target
    version = f" {target.version}" if target.version else ""
    yield (
        f"{target.model}{version} at {target.url}: {plan.rounds} x {plan.requests} requests, "
        f"{plan.clients} at a time, {plan.source}"
    )
    if target.batching is not None:
        now = target.batching
        yield f"batch_size {now.batch_size}, max_batch_delay {now.max_batch_delay_ms} ms, workers {now.workers}"
    if target.weights == "random":
        yield "weights: random. The speed is the model's, the answers mean nothing."


def round_line(one: Round, plan: Plan) -> str:
    """One round's throughput, and its errors when there were any."""
    line = f"Performance: {one.rate:.2f} {plan.target.unit}/s"
    line += f", {one.failed} of {one.requests} failed" if one.failed else ""
    return line if one.complete else f"{line} (broken off)"


def footer(report: Report, overrides: Sequence[str]) -> Iterator[str]:
    """Throughput, latency, errors, and the commands to type next. `overrides` are those of this run."""
    unit = report.plan.target.unit
    if report.rate is not None:
        # One round alone tells nothing of the spread.
        spread = f" ± {report.rate.std:.2f}" if len(report.rounds) > 1 else ""
        yield f"Performance: {report.rate.mean:.2f}{spread} {unit}/s over {_rounds(report)}"
    if report.latency_ms is not None:
        found = report.latency_ms
        yield f"Latency: p50 {found.p50:.1f}, p95 {found.p95:.1f}, p99 {found.p99:.1f}, max {found.max:.1f} ms"
    yield from _errors(report)
    if not report.interrupted:
        yield from _next(report, overrides)


def _rounds(report: Report) -> str:
    complete = sum(one.complete for one in report.rounds)
    if complete == 0:
        return "a round that was broken off"
    return "1 round" if complete == 1 else f"{complete} rounds"


def _errors(report: Report) -> Iterator[str]:
    failed = sum(report.errors.values())
    yield f"Errors: {failed} of {report.requests} requests" if failed else f"Errors: none in {report.requests} requests"
    for kind, count in report.errors.items():
        yield f"  {count:>6}  {kind}"
    if report.warmup is not None and report.warmup.failed:
        kinds = ", ".join(f"{count} x {kind}" for kind, count in report.warmup.errors)
        yield f"  in the warm-up: {kinds}"


def _next(report: Report, overrides: Sequence[str]) -> Iterator[str]:
    advice = advise(report)
    if advice is None:
        return
    model = report.plan.target.model
    params = "served_model.request_params"
    yield "Try next:"
    yield f"  batch_size {advice.batch_size}: {advice.why_batch_size}"
    yield f"  max_batch_delay {advice.max_batch_delay_ms}: {advice.why_max_batch_delay}"
    yield (
        f"  make upload_model MODEL={model} "
        f'ARGS="{params}.batch_size={advice.batch_size} {params}.max_batch_delay={advice.max_batch_delay_ms}"'
    )
    # The same load again: what differs between the two runs must be the two settings alone.
    same = [one for one in overrides if one.split("=", 1)[0].lstrip("+~").split(".")[0] in {"stress", "gateway"}]
    arguments = f" ARGS={shlex.quote(shlex.join(same))}" if same else ""
    yield f"  make run_stress MODEL={model}{arguments}"
