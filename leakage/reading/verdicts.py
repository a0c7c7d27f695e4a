"""The verdict on one run, in sentences that claim no more than was shown."""

from __future__ import annotations

from collections.abc import Iterator

from leakage.knowledge import EITHER
from leakage.reading.claims import Family, Statement
from leakage.reading.figures import Figure
from leakage.reading.guessers import AWARE, value_of
from leakage.reading.runs import Files
from leakage.reading.schema import Guesser, Run
from leakage.report.verdicts import verdict

_FEW = 10  # values of a secret that are named


def sentences(files: Files, family: Family) -> list[str]:
    """What a run shows, the strongest first.

    Args:
        files: of the run.
        family: the statements of the whole report.
    """
    run = files.run
    if files.epsilons:
        said = verdict(files.epsilons, files.epsilons[0].secret != "membership")
    else:
        said = [*_leak(run, family), *_most(run, family)]
        said += [*_worst(run), *_information(run), *_price(run)]
    return [sentence[0].upper() + sentence[1:] + "." for sentence in said]


def _leak(run: Run, family: Family) -> Iterator[str]:
    """The largest gain that is claimed."""
    held = [statement for statement, claim in family.of(run.name) if claim.holds]
    if not held:
        return
    best = max(held, key=lambda statement: statement.gain.value)
    who, figures = best.guesser, best.guesser.figures
    gain = shown(figures["gain"], sign=True)
    yield (
        f"{_who(who)} tells {run.secret} from a release {_under(run)}, {who.when}: AUROC"
        f" {shown(figures['auroc'])}, a gain of {gain} over {who.rival}, which sees no gradient"
        f" ({_corrected(best, family)}); {_bits(run, who)}"
    )


def _corrected(best: Statement, family: Family) -> str:
    low, _ = best.gain.at(family.alpha)
    count = len(family.statements)
    if count == 1:
        return "95% intervals; the only statement of the report"
    said = f"95% intervals; above 0 by Holm's test over the {count} statements of the report"
    return f"{said}, and at least {low:+.3f} with all its limits at once" if low > 0 else said


def _most(run: Run, family: Family) -> Iterator[str]:
    """What none of those who were tried exceeds."""
    listed = dict.fromkeys(g.adversary for g in run.guessers if g.knowledge in AWARE)
    if not listed:
        return
    names, most = ", ".join(listed), family.most(run.name)
    if run.name in family.unclaimed:
        yield f"nothing is claimed of all adversaries, {'; '.join(family.unclaimed[run.name])}"
    elif most is not None:
        count = len(family.statements)
        over = f", Bonferroni over the {count} statements of the report" if count > 1 else ""
        yield (
            f"{_under(run)} none of the listed adversaries ({names}) beat the best baseline by more"
            f" than {max(most, 0):.3f} (upper 95% limit{over}); others may"
        )


def _worst(run: Run) -> Iterator[str]:
    """The values and the units that are told most surely."""
    if run.strongest is None:
        return
    by_value = sorted(run.classes.items(), key=lambda item: -(item[1].value or 0))
    values = ", ".join(f"{name} {shown(figure)}" for name, figure in by_value)
    if values and len(by_value) <= _FEW:
        who = run.strongest.adversary
        yield f"by value of the secret, {who} is right in a share of trials of: {values}"
    for unit, figure in list(run.exposed.items())[:1]:
        if figure.low is not None:
            yield (
                f"most exposed is unit {unit}: right in {figure.value:.3f} of the trials that hold"
                f" it, at least {figure.low:.3f} (all listed units at once); of all trials in"
                f" {value_of(run.strongest, 'asr'):.3f}"
            )
        elif figure.value is not None:
            yield f"most exposed is unit {unit}: told from the rest with AUROC {figure.value:.3f}"


def _information(run: Run) -> Iterator[str]:
    """What is proven of the secret in bits, from below and from above."""
    view = run.information
    if "entropy" not in view or view["entropy"].value is None:
        return
    floor, ceiling = view.get("bits_floor", Figure(None)), view.get("bits_ceiling", Figure(None))
    place = " in all rounds together" if any(g.rounds == "sum" for g in run.guessers) else ""
    least = f"at least {floor.value:.3f} leak" if floor.value else "none is proven to leak"
    said = f"of the {view['entropy'].value:.3f} bits of the secret {least}{place}"
    if floor.note:
        said += f" ({floor.note if floor.value or floor.value is None else 'one-sided 95%'})"
    if ceiling.value is None:
        yield said + (f"; {ceiling.note}" if ceiling.note else "")
    else:
        more = f" ({ceiling.note})" if ceiling.note else ""
        yield f"{said}; DP allows at most {ceiling.value:.3f}{more}"


def _price(run: Run) -> Iterator[str]:
    """Utility, and what the defense has cost."""
    for split in ("test", "validation"):
        if f"{split}_accuracy" in run.utility:
            said = f"{split} accuracy is {shown(run.utility[f'{split}_accuracy'])}"
            if "loss_vs_none" in run.utility:
                loss = shown(run.utility["loss_vs_none"], sign=True)
                said += f"; without the defense it is higher by {loss}"
            yield said
            return


def _under(run: Run) -> str:
    return "without a defense" if run.defense == "none" else f"under {run.defense}"


def _who(guesser: Guesser) -> str:
    knows = "" if guesser.knowledge == EITHER else ", which knows of the defense,"
    return f"{guesser.adversary}{knows}"


def _bits(run: Run, guesser: Guesser) -> str:
    bits, entropy = guesser.figures.get("bits"), run.information.get("entropy")
    if bits is None or bits.value is None or entropy is None or entropy.value is None:
        return "its bits are undefined"
    return f"{bits.value:.3f} of {entropy.value:.3f} bits"


def shown(figure: Figure, *, sign: bool = False) -> str:
    """A figure and its 95% interval, or that it has none.

    >>> shown(Figure(0.75, 0.7, 0.8)), shown(Figure(0.1), sign=True)
    ('0.750 [0.700, 0.800]', '+0.100 [no interval]')
    """
    plus = "+" if sign else ""
    if figure.value is None:
        return "undefined"
    if figure.low is None or figure.high is None:
        return f"{figure.value:{plus}.3f} [no interval]"
    return f"{figure.value:{plus}.3f} [{figure.low:{plus}.3f}, {figure.high:{plus}.3f}]"
