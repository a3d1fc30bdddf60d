"""The verdict of a trial: the new version's figures, criterion by criterion, beside those of the old one."""

from dataclasses import dataclass

from delivery.gateway_metrics import CopyCounts, TrialFigures, VersionCounts
from delivery.significance import p_more_frequent, quantile_interval, ratio_interval, share_interval
from settings.schema import CanarySettings, ShadowSettings

HEAD = ("", "old", "new", "test", "verdict")
P95 = 0.95
# A running trial is judged again and again; a tenth of `alpha` then keeps the chance of a wrong withdrawal near `alpha`
# in all (J. L. Haybittle, British Journal of Radiology 44, 1971; R. Peto et al. 1976).
INTERIM = 0.1


@dataclass(frozen=True)
class CriterionResult:
    """One criterion: the figures of both versions, the statistic, and the reason why the new version fails, if it does.

    The fields are those of the trial's report.
    """

    name: str
    old: str
    new: str
    test: str
    wrong: str | None = None

    @property
    def cells(self) -> tuple[str, ...]:
        """The cells of its row in the table."""
        return (self.name, self.old, self.new, self.test, "worse" if self.wrong else "ok")


@dataclass(frozen=True)
class Evidence:
    """The counts of a trial; `live` when the new version answered clients, and not only copies of requests."""

    old: VersionCounts
    new: VersionCounts
    compared: CopyCounts
    fallbacks: int
    live: bool

    @classmethod
    def of(cls, figures: TrialFigures, old: str, new: str, *, live: bool) -> "Evidence":
        """Collect the counts of two versions."""
        found = figures.version(old, "live"), figures.version(new, "live" if live else "shadow")
        return cls(*found, figures.copies(new), figures.fallbacks(new), live)


def judge(evidence: Evidence, canary: CanarySettings, shadow: ShadowSettings, *, final: bool) -> list[CriterionResult]:
    """Apply every criterion that the evidence allows. Before the end, only clear evidence withdraws a version."""
    alpha = canary.alpha * (1 if final else INTERIM)
    old, new = evidence.old, evidence.new
    rows = [
        _shares("failed (5xx)", old.failed, old.requests, new.failed, new.requests, alpha),
        _shares("refused (4xx)", old.refused, old.requests, new.refused, new.requests, alpha),
        _latency(old, new, alpha, canary.max_latency_ratio),
    ]
    if shadow.share > 0:
        rows.append(_disagreement(evidence.compared, alpha, shadow, final=final))
    if final and evidence.live:
        rows.append(_enough("requests", old.requests, new.requests, canary.min_requests))
    return rows


def table(rows: list[CriterionResult], evidence: Evidence) -> list[str]:
    """Return the criteria as the lines of a table, with the counts that are not judged below it."""
    cells = [HEAD, *(row.cells for row in rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(HEAD))]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
    if evidence.live:
        lines.append(f"{evidence.fallbacks} requests were answered by the old version because the new one did not")
    copies = evidence.compared
    if copies != CopyCounts():
        lines.append(
            f"copies: {copies.same} answered the same, {copies.differs} differently, {copies.failed} not at all; "
            f"{copies.dropped} not sent; largest change of a probability or action {copies.largest:.3g}"
        )
    return lines


def _shares(name: str, old: int, old_of: int, new: int, new_of: int, alpha: float) -> CriterionResult:
    chance = p_more_frequent(new, new_of, old, old_of)
    test = f"Fisher p={chance:.2g}, limit {alpha:g}"
    wrong = f"{new} of its {new_of} answers {name}, {old} of {old_of} before it (p={chance:.2g})"
    return CriterionResult(name, f"{old}/{old_of}", f"{new}/{new_of}", test, wrong if chance < alpha else None)


def _latency(old: VersionCounts, new: VersionCounts, alpha: float, limit: float) -> CriterionResult:
    before, after = quantile_interval(old.seconds, P95, alpha), quantile_interval(new.seconds, P95, alpha)
    if before is None or after is None:
        return CriterionResult("p95", "-", "-", "too few answers for an interval")
    found = ratio_interval(after, before)
    interval = f"{found.low:.2f} to {found.high:.2f}"
    wrong = f"its p95 is {found.estimate:.2f} times that before ({interval}), beyond {limit:g}"
    return CriterionResult(
        "p95",
        f"{before.estimate * 1000:.1f} ms",
        f"{after.estimate * 1000:.1f} ms",
        f"ratio {found.estimate:.2f} ({interval}), limit {limit:g}",
        wrong if found.low > limit else None,
    )


def _disagreement(copies: CopyCounts, alpha: float, shadow: ShadowSettings, *, final: bool) -> CriterionResult:
    found = share_interval(copies.differs, copies.compared, alpha)
    interval = f"{found.low:.2%} to {found.high:.2%}"
    wrong = None
    if found.low > shadow.max_disagreement:
        wrong = f"{copies.differs} of {copies.compared} answers differ ({interval}), beyond {shadow.max_disagreement:g}"
    elif final and copies.compared < shadow.min_compared:
        wrong = f"only {copies.compared} answers could be compared, less than shadow.min_compared"
    test = f"{found.estimate:.2%} ({interval}), limit {shadow.max_disagreement:.2%}"
    return CriterionResult("disagreement", "-", f"{copies.differs}/{copies.compared}", test, wrong)


def _enough(name: str, old: int, new: int, least: int) -> CriterionResult:
    wrong = f"only {new} {name} reached it, less than canary.min_requests={least}"
    return CriterionResult(name, str(old), str(new), f"at least {least}", wrong if new < least else None)
