"""The sounds of English and the twelve sentences of CREMA-D (Cao et al. 2014) as sounds.

Vowel formants are the men's means of Peterson & Barney 1952; the rest is set by ear.
"""

from __future__ import annotations

from typing import NamedTuple


class Segment(NamedTuple):
    """A stretch of sound with steady targets; a stop or a diphthong is two of them.

    Args:
        ms: how long it takes at an ordinary rate, in milliseconds.
        formants: the first three resonances of a tract of ordinary length, in Hz.
        voice: how loud the glottis sounds, 1 in a vowel.
        breath: how loud noise at the glottis is.
        hiss: how loud noise at the lips or teeth is, 1 in an s.
        centre: the middle of that noise, in Hz.
        width: the deviation of that noise, in Hz.
    """

    ms: float
    formants: tuple[float, float, float]
    voice: float = 0.0
    breath: float = 0.0
    hiss: float = 0.0
    centre: float = 4000.0
    width: float = 2000.0


def _vowel(ms: float, *targets: tuple[float, float, float]) -> tuple[Segment, ...]:
    return tuple(Segment(ms / len(targets), target, voice=1.0) for target in targets)


def _stop(
    place: tuple[float, float, float], centre: float, width: float, hiss: float, *, voice: float
) -> tuple[Segment, ...]:
    """A closure and its burst; a voiceless one lets breath out after it."""
    closure = Segment(55 - 60 * voice, place, voice=voice)
    burst = Segment(16, place, 0, 0, hiss, centre, width)
    breath = Segment(28, place, 0, 0.35, hiss / 5, centre, width)
    return (closure, burst) if voice else (closure, burst, breath)


_IY, _IH, _EH = (270, 2290, 3010), (390, 1990, 2550), (530, 1840, 2480)
_AE, _AA, _AO = (660, 1720, 2410), (730, 1090, 2440), (570, 840, 2410)
_UH, _UW, _AH = (440, 1020, 2240), (300, 870, 2240), (640, 1190, 2390)
_LIPS, _TEETH, _PALATE = (350, 850, 2300), (320, 1750, 2700), (300, 1950, 2400)

PHONES: dict[str, tuple[Segment, ...]] = {
    "IY": _vowel(95, _IY),
    "IH": _vowel(75, _IH),
    "EH": _vowel(95, _EH),
    "AE": _vowel(120, _AE),
    "AA": _vowel(125, _AA),
    "AO": _vowel(120, _AO),
    "UH": _vowel(80, _UH),
    "UW": _vowel(105, _UW),
    "AH": _vowel(85, _AH),
    "ER": _vowel(105, (490, 1350, 1690)),
    "AX": _vowel(55, (500, 1500, 2500)),
    "EY": _vowel(130, _EH, (350, 2150, 2700)),
    "AY": _vowel(150, _AA, _IH),
    "AW": _vowel(155, _AA, _UH),
    "OW": _vowel(135, _AO, _UH),
    "OY": _vowel(150, _AO, _IH),
    "L": (Segment(60, (360, 1100, 2600), voice=0.55),),
    "R": (Segment(60, (330, 1200, 1600), voice=0.6),),
    "W": (Segment(60, (300, 700, 2200), voice=0.5),),
    "M": (Segment(70, (250, 1000, 2200), voice=0.32),),
    "N": (Segment(65, (250, 1500, 2500), voice=0.32),),
    "NG": (Segment(75, (250, 1900, 2500), voice=0.3),),
    "S": (Segment(95, _TEETH, 0, 0, 1.0, 6000, 1100),),
    "Z": (Segment(75, _TEETH, 0.18, 0, 0.55, 6000, 1200),),
    "F": (Segment(85, _LIPS, 0, 0, 0.22, 5500, 2800),),
    "V": (Segment(55, _LIPS, 0.28, 0, 0.12, 5500, 2800),),
    "TH": (Segment(85, _TEETH, 0, 0, 0.2, 6200, 1900),),
    "DH": (Segment(45, _TEETH, 0.28, 0, 0.1, 6000, 2200),),
    "HH": (Segment(55, (500, 1500, 2500), 0.05, 0.6),),
    "P": _stop(_LIPS, 1000, 1500, 0.5, voice=0),
    "B": _stop(_LIPS, 800, 900, 0.3, voice=0.12),
    "T": _stop(_TEETH, 4600, 1500, 0.9, voice=0),
    "D": _stop(_TEETH, 4200, 1400, 0.5, voice=0.12),
    "K": _stop(_PALATE, 2200, 800, 0.8, voice=0),
    "G": _stop(_PALATE, 2000, 700, 0.4, voice=0.12),
    "JH": (Segment(40, _PALATE, 0.1), Segment(55, _PALATE, 0.12, 0, 0.6, 3500, 1100)),
    "_": (Segment(40, (500, 1500, 2500)),),
}

# A star marks the vowels of stressed syllables, a line the places where a speaker may pause.
SENTENCES: dict[str, str] = {
    "IEO": "IH T S _ IH L EH* V AX N _ AX K L AA* K",
    "TIE": "DH AE* T IH Z _ IH G Z AE* K L IY _ W AH T HH AE* P AX N D",
    "IOM": "AY M _ AA N M AY W EY* _ T UW DH AX M IY* T IH NG",
    "IWW": "AY W AH* N D ER _ W AH T DH IH* S IH Z AX B AW* T",
    "TAI": "DH IY EH* R P L EY N _ IH Z AO* L M OW S T F UH* L",
    "MTI": "M EY* B IY _ T AX M AA* R OW _ IH T W IH L B IY K OW* L D",
    "IWL": "AY W UH D L AY* K _ AX N UW* _ AX L AA* R M K L AA K",
    "ITH": "AY TH IH* NG K _ AY HH AE V AX D AA* K T ER Z _ AX P OY* N T M AX N T",
    "DFA": "D OW* N T _ F ER G EH* T _ AX JH AE* K AX T",
    "ITS": "AY TH IH* NG K _ AY V S IY* N DH IH S _ B IH F AO* R",
    "TSI": "DH AX S ER* F AX S _ IH Z S L IH* K",
    "WSI": "W IY L S T AA* P _ IH N AX K AH* P AX L _ AX V M IH* N AX T S",
}
