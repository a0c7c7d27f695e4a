"""Reports made by hand, whose figures the tests look for in the page."""

from __future__ import annotations

from dataclasses import replace

from leakage.reading.figures import Curve, Difference, Figure, Point, Spread, Tradeoff
from leakage.reading.schema import Audited, Claim, Guesser, Report, Run

LAST = "round 3 alone"
HOSTILE = 'logs/<script>alert("x")</script>&co'
CEILINGS = {"none": None, "Pruning(keep=0.01)": None, "Sign()": None, "DP(clip=1, sigma=2)": 0.1607}
# AUROC of the strongest adversary, gain and half its interval, bits, accuracy.
PLAYED = {
    "none": (0.9841, 0.0803, 0.0151, 0.7712, 0.8532),
    "DP(clip=1, sigma=2)": (0.6768, -0.2271, 0.0402, 0.0702, 0.7641),
    "Pruning(keep=0.01)": (0.9713, 0.0675, 0.0163, 0.6909, 0.8401),
    "Sign()": (0.9944, 0.0906, 0.0137, 0.8513, 0.8329),
}


def around(value: float, half: float, note: str = "") -> Figure:
    return Figure(value, value - half, value + half, note)


def guesser(
    name: str, knowledge: str, auroc: float, gain: float, half: float, bits: float, place: int = 2
) -> Guesser:
    figures = {
        "auroc": around(auroc, half / 2),
        "asr": around(auroc - 0.03, half),
        "bits": Figure(bits, bits * 0.8),
    }
    if knowledge:
        figures["gain"] = around(gain, half)
    rival = "labels" if knowledge else ""
    return Guesser(place, "alone", knowledge, name, figures, rival, 1000, 4213)


def played(name: str, defense: str, folder: str = "logs/adult/version_0") -> Run:
    auroc, gain, half, bits, accuracy = PLAYED[defense]
    knows = "either" if defense == "none" else "adaptive"
    guessers = [
        guesser("prior", "", 0.5, 0, 0.04, 0.0),
        guesser("labels", "", 0.9038, 0, 0.02, 0.5),
        guesser("RandomForest", knows, auroc - 0.011, gain - 0.011, half, bits - 0.05, 0),
        guesser("RandomForest", knows, auroc - 0.01, gain - 0.01, half, bits - 0.04),
        guesser("BoostedTrees", knows, auroc, gain, half, bits),
    ]
    if defense != "none":
        guessers.append(guesser("BoostedTrees", "static", 0.5533, -0.35, half, 0.0))
    strongest = next(g for g in guessers if g.figures["auroc"].value == auroc)
    ceiling = CEILINGS[defense]
    return Run(
        name=name,
        folder=folder,
        state="finished",
        data="Adult",
        standin=True,
        secret="property_sex",
        k=16,
        others=0,
        defense=defense,
        settings={"batches": "fresh", "shadow_batches": 1500, "rounds": [0, 2]},
        seed=7,
        sentences=[
            f"BoostedTrees tells property_sex with AUROC {auroc:.3f}.",
            "None of this stops an adversary that is not listed.",
        ],
        strongest=strongest,
        guessers=guessers,
        layers={"network.0": around(0.9703, 0.02), "network.4": around(0.7961, 0.03)},
        exposed={"unit 1017": Figure(0.9512, 0.8123), "unit 23": Figure(0.9104, 0.7701)},
        classes={"Female": around(0.9421, 0.02), "Male": around(0.9631, 0.02)},
        information={
            "entropy": Figure(1.0),
            "bits_floor": Figure(bits * 0.8, note="proven by BoostedTrees, one-sided 95%"),
            "bits_ceiling": Figure(ceiling, note="" if ceiling else "not differentially private"),
        },
        audit=audited() if ceiling else [],
        utility={"test_accuracy": around(accuracy, 0.005), "loss_vs_none": around(0.0893, 0.005)},
        privacy={"epsilon_training": 0.2213, "delta": 1e-05} if ceiling else {},
        splits={"train": 12000, "challenge": 6000},
        seconds={"fit": 31.2, "adversaries": 75.0},
        versions={"leakage": "0.1.0", "torch": "2.12.1"},
        started_as="attack:\n  k: 16\n",
    )


def audited() -> list[Audited]:
    rows = []
    for sigma, low, has, most in ((1.0, 1.3613, 2.6911, 9.9971), (2.0, 0.6417, 1.2409, 4.3774)):
        rows += [
            Audited("", "theory_replace_one", sigma, 1e-5, Figure(most), False, False),
            Audited("", "theory_add_or_remove", sigma, 1e-5, Figure(most / 2.1), False, False),
            Audited("natural", "exact", sigma, 1e-5, Figure(has), False, False),
            Audited("natural", "one_run", sigma, 1e-5, Figure(low * 1.2, low), True, True),
            Audited("natural", "gaussian", sigma, 1e-5, Figure(has, has - 0.1), False, False),
        ]
    return rows


def several() -> Report:
    """Four defenses on a stand-in, with an audit, curves, differences and a hostile folder."""
    names = [defense.split("(")[0] for defense in PLAYED]
    runs = [played(n, d, HOSTILE) for n, d in zip(names, PLAYED, strict=True)]
    tradeoffs = [
        Tradeoff(
            runs=[run.name],
            label=run.defense,
            utility=run.utility["test_accuracy"],
            metric="test_accuracy",
            gain=run.strongest.figures["gain"],
            best=run.defense != "Sign()",
        )
        for run in runs
        if run.strongest
    ]
    claims = [
        Claim(
            run.name,
            "BoostedTrees",
            "either" if run.defense == "none" else "adaptive",
            "the gain is above 0",
            0.0102 if held else 0.4711,
            0.0408 if held else 0.9422,
            held,
            "round 0 alone",
            Figure(0.3 if run.defense == "none" else 0.01, 0.004, 0.31),
            Figure(0.987, 0.98, 0.99),
        )
        for run in runs
        for held in [run.defense != "DP(clip=1, sigma=2)"]
    ]
    curves = [
        Curve(
            "k",
            "auroc",
            label,
            baseline,
            [
                Point(k, around(start + step * place - (0.1 if baseline else 0), 0.02), names[:1])
                for place, k in enumerate((1, 4, 16, 64))
            ],
        )
        for label, start, step in (("none", 0.83, 0.05), ("DP(clip=1, sigma=2)", 0.52, 0.13))
        for baseline in (False, True)
    ]
    curves.append(
        Curve(
            "round",
            "gain",
            "none",
            False,
            [Point(r, around(0.1 + 0.02 * r, 0.03), ["none"]) for r in range(4)],
        )
    )
    differences = [
        Difference(["Sign"], ["none"], "auroc", around(0.0103, 0.0071), True, "", LAST),
        Difference(["DP"], ["none"], "auroc", around(-0.3073, 0.0412), False, "other trials", LAST),
        Difference(["DP"], ["none"], "accuracy", around(-0.0891, 0.0061), True),
    ]
    return Report(
        "Adult: sex as a property",
        runs,
        claims,
        tradeoffs,
        curves,
        differences,
        spreads=[
            Spread("none", "auroc", around(0.9871, 0.0112), 0.9802, 0.9914, ["a", "b", "c"]),
            Spread("none", "gain", around(0.1231, 0.0112), 0.1202, 0.1314, ["a", "b", "c"]),
            Spread("DP", "auroc", around(0.5121, 0.0211), 0.5023, 0.5219, ["d", "e"]),
        ],
        notes=["All runs are of one data set."],
        written="2026-11-26T19:00:00+00:00",
        version="0.1.0",
        warnings=["All records are a stand-in, made up."],
    )


def single() -> Report:
    """One run that leaks."""
    run = played("none", "none")
    claim = Claim("none", "BoostedTrees", "either", "the gain is above 0", 0.00001, 0.00002, True)
    return Report("One run", [run], [claim], version="0.1.0", written="2026-11-26T19:00:00+00:00")


def nothing() -> Report:
    """One run on permuted secrets that finished, one that did not, and one that cannot be read."""
    null = guesser("RandomForest", "either", 0.5031, 0.0031, 0.04, 0.0)
    done = Run(
        "null",
        "logs/null",
        "finished",
        "Adult",
        False,
        "property_sex",
        16,
        0,
        "none",
        sentences=["None of the listed adversaries beats the best baseline by more than 0.043."],
        strongest=null,
        guessers=[null],
    )
    half = Run("half", "logs/half", "unfinished", "Adult", False, "property_sex", 16, 0, "none")
    half = replace(half, faults=["rounds without figures so far: 2"])
    torn = Run("torn", "logs/torn", "unfinished", "unknown", False, "", 0, 0, "")
    torn = replace(torn, faults=["attack.csv, row 7: it is not whole"])
    claim = Claim("null", "RandomForest", "either", "the gain is above 0", 0.8, 0.8, False)
    warnings = [f"{run.name} is unfinished: {run.faults[0]}." for run in (half, torn)]
    return Report("Nothing found", [done, half, torn], [claim], warnings=warnings)


def crowded(many: int = 9, secret: str = "property_sex") -> Report:
    """Defenses of one utility and gains that are close, some of them with long names."""
    noises = [f"DP(clip=1, batch=64, sigma={n}, delta=1e-05)" for n in range(many - 2)]
    runs = [
        replace(played("none", "none"), name=f"run {n}", defense=defense, secret=secret)
        for n, defense in enumerate([*noises, "none", "Sign()"])
    ]
    utility = around(0.853, 0.005)
    tradeoffs = [
        Tradeoff(
            [run.name], run.defense, utility, "test_accuracy", around(0.08 - 0.009 * n, 0.01), n < 3
        )
        for n, run in enumerate(runs)
    ]
    return Report("Crowded", runs, frontier=tradeoffs)
