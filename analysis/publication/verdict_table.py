"""The verdicts on the paper's claims: a table with a line for each claim, and one with a line for each of its parts."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from analysis import numbers
from analysis.paper import verdicts
from analysis.paper.claims import Part, Row
from analysis.paper.judgement import Answer, Finding, key_of
from analysis.paper.pools import PAPER, SWEEPS, Pool, pools
from analysis.paper.verdicts import Verdict
from analysis.sources.collection import Collection as Sources
from analysis.sources.samples import Comparison
from analysis.statistics import ALPHA, FEWEST_SEEDS, Difference, contrast, equivalence, outside
from analysis.table import escape_markdown
from lightning_xvol.commandline import markdown_table
from lightning_xvol.errors import UserError
from lightning_xvol.ledger.protocol import Protocol

ByTable = Mapping[str, Sequence[Pool]]
Contrasts = Collection[tuple[str, frozenset[str]]]
"""The metric and the two groups of runs of each contrast."""
OVERVIEW = ("#", "Claim", "Data", "n", "Verdict")
COLUMNS = (
    "#", "Difference", "n", "Claimed", "Points [95 %]", "Equal within",
    "Gain over the static control", "Parameters", "Verdict",
)  # fmt: skip
PRIMARY = " (primary)"
PRIMARY_NOTE = "Primary: a contrast that the protocol names as primary. The other differences are secondary."
_PARTS = {"yes": "holds", "no": "fails", "open": "not resolved"}
NOTES = (
    "Points: the difference of the means over seeds, of all n runs of each row, with its 95 % interval. Claimed: the "
    "sign that the claim gives to the difference, or equality.",
    "Equal within a margin: yes where two one-sided tests show it, no where a test refutes it, and open otherwise. "
    "Each test has the level 5 %, unadjusted. The middle margin is half of what the paper claims for X-volution on the "
    "metric.",
    "Gain over the static control: a row minus the same taps without a query-key product, with its 95 % interval. "
    "The upper end is the largest gain that the runs allow.",
    "A claim holds where each of its parts holds at 5 %. It fails where a part is refuted after Holm over its parts. "
    f"Fewer than {FEWEST_SEEDS} runs of a row decide nothing.",
)


def found_by(sources: Sources, select: str = "last") -> tuple[list[Verdict], ByTable]:
    """The verdicts, and the pools of runs that they come from, by the table of the paper (`pools.SWEEPS`)."""
    by_table = {table: pools(sources, table, select) for table in SWEEPS}
    return verdicts.judged_by(by_table), by_table


def chosen(found: Sequence[Verdict], claims: Collection[int]) -> list[Verdict]:
    """The verdicts on `claims`; without `claims`, those that rest on runs.

    Raises:
        UserError: for a number that no claim has.
    """
    known = {item.claim.number for item in found}
    for number in claims:
        if number not in known:
            raise UserError(f"no claim {number}; the paper's claims here are {min(known)} to {max(known)}")
    return [item for item in found if (item.claim.number in claims if claims else item.findings)]


def primary_contrasts(sources: Sources, protocol: Protocol) -> Contrasts:
    """The metric and the two groups of runs of each primary contrast of `protocol`, in every sweep that it names."""
    found = set()
    for sweep, frame in sources.variants(sources.sweeps()):
        places = frame[["operator", *sweep.axes]].itertuples(index=False, name=None)
        groups = dict(zip(places, frame["group_id"], strict=True))
        for planned in protocol.of(sweep.recipe, sweep.name) if not sweep.smoke else ():
            pairs = planned.pairs(sweep.axes, groups)
            found |= {(sweep.metric, frozenset((groups[first], groups[second]))) for first, second in pairs}
    return found


def verdict_table(found: Sequence[Verdict], by_table: ByTable, primary: Contrasts | None = None) -> str:
    """The two tables with their footnotes as Markdown. They mark the `primary` contrasts of a protocol, if it is given.

    Raises:
        UserError: where `found` is empty.
    """
    if not found:
        raise UserError("no run decides a claim here")
    claims, parts = [], []
    for item in found:
        counts = [finding.found.n for finding, _ in item.findings]
        data = {"": numbers.DASH, PAPER: "the paper's protocol"}.get(item.data, item.data)
        text = f"{item.claim.claim} ({item.claim.where})"
        claims.append((str(item.claim.number), text, data, str(min(counts, default=numbers.DASH)), item.kind))
        beside = item.evidence[len(item.findings) :] if item.findings else ()
        own = [
            _cells(item, finding, _pool_of(item, finding, by_table), answer, primary or ())
            for finding, answer in item.findings
        ]
        own += [(text, *[numbers.DASH] * 6, "") for text in beside]
        parts += [("" if place else str(item.claim.number), *cells) for place, cells in enumerate(own)]
    tables = [_markdown(OVERVIEW, claims, ("--:", ":--", ":--", ":-:", ":--"))]
    if parts:
        tables.append(_markdown(COLUMNS, parts, ("--:", ":--", *[":-:"] * 4, ":--", ":--", ":--")))
        notes = NOTES if primary is None else (*NOTES, PRIMARY_NOTE)
        tables.append("\n".join(f"- {escape_markdown(note)}" for note in notes))
    return "\n\n".join(tables)


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]], marks: Sequence[str]) -> str:
    escaped = ([escape_markdown(text) for text in row] for row in rows)
    return markdown_table([escape_markdown(text) for text in header], escaped, marks)


def _pool_of(item: Verdict, finding: Finding, by_table: ByTable) -> Pool:
    [pool] = [pool for pool in by_table[finding.part.terms[0][1].table] if pool.data == item.data]
    return pool


def _cells(item: Verdict, finding: Finding, pool: Pool, answer: Answer, primary: Contrasts) -> tuple[str, ...]:
    part, found = finding.part, finding.found
    claimed = "equal" if part.kind == "E" else "above 0" if part.sign > 0 else "below 0"
    if finding.printed is not None:
        claimed += f" (printed {numbers.signed(finding.printed)})"
    equal = numbers.DASH
    if found.can_decide and finding.margin == finding.margin and len(part.terms) == 2:
        equal = equalities(found, finding.margin)
    lost = f" ({'; '.join(facts)})" if (facts := [fact for fact in finding.facts if ": " in fact]) else ""
    named = in_words(part, pool) + PRIMARY * _is_primary(finding, primary)
    if finding.metric != item.metrics[0]:
        named += f", {finding.metric}"
    return (
        named, f"{found.n}{lost}", claimed, told(found), equal,
        _against_control(part, pool, finding.metric), _parameters(part, pool), _PARTS[answer],
    )  # fmt: skip


def _is_primary(finding: Finding, primary: Contrasts) -> bool:
    """Whether `finding` is one of `primary`, with its sign or the other one. A difference at an epoch is none."""
    metric, *terms = finding.contrast
    return (metric, frozenset(group for group, _ in terms)) in primary and {abs(weight) for _, weight in terms} == {1.0}


def equal_within(found: Difference, margin: float) -> str:
    """Whether the difference lies within +-`margin`, in points: `yes`, `no`, or `open` where no test decides."""
    if equivalence(found, margin) < ALPHA:
        return "yes"
    return "no" if outside(found, margin) < ALPHA else "open"


def equalities(found: Difference, margin: float) -> str:
    """`±0.3 no, ±0.6 open, ±1.2 yes`: `equal_within` for half the margin, the margin, and twice the margin."""
    margins = [factor * margin for factor in (0.5, 1, 2)]
    return ", ".join(f"{numbers.PLUS_MINUS}{each:g} {equal_within(found, each)}" for each in margins)


def told(found: Difference) -> str:
    """`+0.09 [−0.29, +0.47]`; the mean alone where it has no interval, or fewer than three runs."""
    mean = numbers.signed(found.mean, 2)
    if not found.can_decide:
        return mean
    return f"{mean} [{numbers.signed(found.low, 2)}, {numbers.signed(found.high, 2)}]"


def verdict_of(compared: Comparison) -> str:
    """Which side of 0 a difference is on, where it is resolved."""
    if not compared.is_resolved:
        return "not resolved"
    return "above 0" if compared.difference.mean > 0 else "below 0"


def in_words(part: Part, pool: Pool) -> str:
    """The sum of a part by the names of its rows: `X-volution − Convolution, stage3`."""
    name = _namer(pool)
    if [weight for weight, _ in part.terms] == [1.0, -1.0]:
        (first, at), (second, there) = (name(row) for _, row in part.terms)
        if at == there:
            return f"{first} {numbers.MINUS} {second}{at}"
        return f"{first}{at} {numbers.MINUS} {second}{there}"
    sides = [" + ".join("".join(name(row)) for weight, row in part.terms if weight * sign > 0) for sign in (1, -1)]
    weighted = "" if {abs(weight) for weight, _ in part.terms} == {1.0} else "weighted: "
    return f"{weighted}({sides[0]}) {numbers.MINUS} ({sides[1]})"


def _namer(pool: Pool) -> Callable[[Row], tuple[str, str]]:
    """A function from a row to its name in our tables and to what tells it apart there (`, K=3`)."""
    # The first sweep decides: the others may add what tells their own tables apart.
    labels = {row: label for sweep in reversed(pool.sweeps) for row, label in sweep.labels.items()}

    def name(row: Row) -> tuple[str, str]:
        text = row.text if pool.data == PAPER else row.on_other_data
        beside = text.removeprefix(row.label).strip()
        return labels.get(row.label, row.label), f", {beside}" if beside else ""

    return name


def _against_control(part: Part, pool: Pool, metric: str) -> str:
    """Each row of the part minus its control. A sum of more than two rows is compared as a whole."""
    controls = {row: others[0] for sweep in pool.sweeps for row, others in sweep.controls.items() if others}
    pairs = {}
    for weight, row in part.terms:
        control = controls.get(row.label)
        key = key_of(row, pool)
        other = (key[0], control or "", key[2])
        if control is not None and pool.estimate(key, metric).n > 1 and pool.estimate(other, metric).n > 1:
            pairs[row] = (weight, pool.estimate(key, metric), pool.estimate(other, metric))
    if not pairs:
        return numbers.DASH
    if len(part.terms) > 2:
        terms = [term for weight, own, control in pairs.values() for term in ((weight, own), (-weight, control))]
        return f"the sum: {told(contrast(terms))}"
    name = _namer(pool)
    names = {row: name(row)[0] if len(pairs) == 1 else "".join(name(row)) for row in pairs}
    return "; ".join(
        f"{names[row]}: {told(contrast([(1.0, own), (-1.0, control)]))}" for row, (_, own, control) in pairs.items()
    )


def _parameters(part: Part, pool: Pool) -> str:
    name = _namer(pool)
    found: dict[str, dict[str, None]] = {}
    for _, row in part.terms:
        params = pool.results.get(pool.groups.get(key_of(row, pool), ""), {}).get("params")
        found.setdefault(name(row)[0], {})[numbers.count(params)] = None
    return "; ".join(f"{row} {', '.join(counts)}" for row, counts in found.items())
