"""The tables of the stand-in for the Heritage Health Prize: shares of codes, conditions, effects.

Margins are those of the official release as far as they are public (shares of missing values, ages,
sexes, member-years); how conditions depend on age and sex is made up after common knowledge.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from leakage.data.health_files import CODES

Numbers = NDArray[np.float64]

CONDITIONS, SPECIALTIES = CODES["PrimaryConditionGroup"], CODES["Specialty"]
PLACES, PROCEDURES = CODES["PlaceSvc"], CODES["ProcedureGroup"]

# Members: counts of the official file. Ages by band; women, men.
AGE = np.array([10791, 11319, 8505, 12435, 16111, 13329, 12622, 14514, 7621]) / 107_247
WOMEN = 51_482 / (51_482 + 43_966)
AGE_MISSING, SEX_MISSING = 5_753 / 113_000, 17_552 / 113_000

# In which of the three years a member has claims, so that 67.3, 63.2 and 62.8% have some in each.
YEARS_OF_MEMBER = np.array(
    [[1, 1, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]], dtype=bool
)
YEARS_SHARE = np.array([0.349, 0.110, 0.090, 0.035, 0.179, 0.083, 0.154])

# Shares of claims in which a column is empty.
MISSING = {
    "ProviderID": 16_264 / 2_668_990,
    "Vendor": 24_856 / 2_668_990,
    "PCP": 7_492 / 2_668_990,
    "Specialty": 8_405 / 2_668_990,
    "PlaceSvc": 7_632 / 2_668_990,
    "DSFS": 52_770 / 2_668_990,
    "PrimaryConditionGroup": 11_410 / 2_668_990,
    "ProcedureGroup": 3_675 / 2_668_990,
}
PROVIDERS, VENDORS, PCPS = 14_700, 6_388, 1_360


def _table(rows: str, names: tuple[str, ...]) -> Numbers:
    """The numbers behind each name, in the order of `names`."""
    found = {}
    for line in rows.strip().splitlines():
        name, *numbers = line.split()
        found[name.replace("_", " ")] = [float(number) for number in numbers]
    return np.array([found[name] for name in names])


# Per cent of people who have a condition in a year at the ages 5, 35 and 75; log-odds of women
# against men; how likely it stays for the next year; claims about it against others; what it adds
# to the log-odds of a Charlson index above 0.
CONDITION = _table("""
AMI       0.01  0.4   3.5  -0.9  0.30  1.5  1.6
APPCHOL   0.5   2.0   2.5   0.3  0.02  1.0  0.0
ARTHSPIN  4     24    42    0.3  0.60  1.6  0.1
CANCRA    0.02  0.2   1.4  -0.4  0.80  2.5  2.6
CANCRB    0.02  1.0   5.5   1.2  0.85  1.5  1.4
CANCRM    0.02  0.2   1.2  -0.3  0.80  2.0  2.6
CATAST    0.1   0.2   1.0   0.0  0.60  2.0  1.0
CHF       0.01  0.4   7.0  -0.2  0.85  1.2  2.0
COPD      0.1   0.9   9.0  -0.2  0.90  1.0  2.0
FLaELEC   0.4   0.4   1.6   0.0  0.10  0.8  0.3
FXDISLC   4     3.5   5.0   0.1  0.05  1.5  0.0
GIBLEED   5     14    20    0.1  0.35  1.2  0.2
GIOBSENT  0.8   0.9   2.0   0.1  0.05  1.0  0.1
GYNEC1    0.2   5.0   2.5   4.0  0.40  1.0  0.0
GYNECA    0.02  0.8   0.6   2.2  0.30  1.0  0.1
HEART2    0.3   2.0   14   -0.6  0.80  1.5  0.8
HEART4    0.3   1.2   3.5  -0.1  0.60  1.0  0.4
HEMTOL    1.0   3.0   8.0   0.6  0.60  1.2  0.4
HIPFX     0.01  0.05  1.2   0.6  0.10  2.0  0.4
INFEC4    22    12    9     0.2  0.20  1.0  0.0
LIVERDZ   0.05  0.6   0.8  -0.3  0.80  1.0  1.8
METAB1    0.05  0.3   1.0   0.0  0.60  1.0  0.6
METAB3    3     22    52    0.3  0.85  2.0  1.0
MISCHRT   1.5   13    38   -0.1  0.85  1.2  0.2
MISCL1    0.2   0.5   1.0   0.0  0.20  0.8  0.1
MISCL5    2     4.5   6     0.3  0.40  1.0  0.0
NEUMENT   5     18    22    0.4  0.65  1.6  0.2
ODaBNCA   2     6     7     0.3  0.40  0.8  0.0
PERINTL   1.2   0.2   0.02  0.2  0.05  1.5  0.1
PERVALV   0.02  0.3   3.5  -0.1  0.80  1.0  1.2
PNCRDZ    0.02  0.2   0.4  -0.2  0.40  1.0  0.5
PNEUM     1.5   0.7   3.5  -0.1  0.05  1.2  0.3
PRGNCY    0.05  1.2   0.01  4.0  0.10  2.5 -0.5
RENAL1    0.03  0.2   0.8  -0.1  0.80  1.2  1.6
RENAL2    0.05  0.5   2.5  -0.2  0.85  2.5  2.2
RENAL3    1.0   4.5   9    -0.9  0.50  1.2  0.2
RESPR4    34    17    17    0.1  0.30  1.0  0.3
ROAMI     1.0   5     13   -0.1  0.25  1.2  0.4
SEIZURE   1.2   1.8   3.5   0.0  0.50  1.0  0.3
SEPSIS    0.05  0.1   0.8   0.0  0.05  2.0  0.9
SKNAUT    9     12    20    0.2  0.40  1.0  0.0
STROKE    0.03  0.3   5.0  -0.2  0.60  1.5  1.8
TRAUMA    13    10    10   -0.6  0.10  1.0  0.0
UTI       2     6     9     1.8  0.30  0.9  0.1
MSC2a3    99    99    99    0.0  0.99  0.8  0.0
""", CONDITIONS)  # fmt: skip

# Claims by specialty, in the order of SPECIALTIES: Internal, Laboratory, General Practice, Surgery,
# Diagnostic Imaging, Emergency, Other, Pediatrics, Rehabilitation, Obstetrics and Gynecology,
# Anesthesiology, Pathology. By kind of condition.
SPECIALTY = {
    "usual": [25, 28, 20, 6, 6, 4, 3.5, 0.3, 0.6, 0.3, 0.6, 0.5],
    "heart": [46, 17, 13, 5, 8, 8, 3, 0.2, 0.5, 0.1, 1.0, 0.2],
    "injury": [8, 3, 14, 21, 21, 15, 5, 0.5, 11, 0.1, 2.5, 0.2],
    "cancer": [31, 20, 8, 17, 10, 1, 6, 0.2, 0.5, 1.0, 2.0, 4.5],
    "women": [9, 24, 16, 5, 10, 2, 3, 0.3, 0.3, 29, 2.0, 2.5],
}
KIND = {
    "heart": ("AMI", "CHF", "HEART2", "HEART4", "MISCHRT", "PERVALV", "ROAMI", "STROKE"),
    "injury": ("ARTHSPIN", "FXDISLC", "HIPFX", "TRAUMA", "CATAST"),
    "cancer": ("CANCRA", "CANCRB", "CANCRM", "ODaBNCA", "HEMTOL", "SKNAUT"),
    "women": ("GYNEC1", "GYNECA", "PRGNCY"),
}
# Of claims with a doctor of general or internal medicine: how many children see a paediatrician,
# and at which ages how many women a gynaecologist.
PEDIATRICS = np.array([0.55, 0.3, 0, 0, 0, 0, 0, 0, 0])
GYNECOLOGY = np.array([0, 0.04, 0.13, 0.12, 0.10, 0.08, 0.05, 0.03, 0.02])

# Office, Independent Lab, Urgent Care, Outpatient and Inpatient Hospital, Ambulance, Other, Home.
PLACE = _table("""
Internal                   82  1   6   3.5  6.5  0    0.2  0.8
Laboratory                 3   92  1.5 3    0.5  0    0    0
General_Practice           89  0.5 7   1    1.8  0    0.2  0.5
Surgery                    76  0.5 4   13   6.3  0    0.1  0.1
Diagnostic_Imaging         52  2   16  19   11   0    0    0
Emergency                  3   0.5 78  5    6    7.5  0    0
Other                      66  4   5   9    7    5    1.5  2.5
Pediatrics                 93  0.5 4   1    1.3  0    0.1  0.1
Rehabilitation             80  0   1   14   4    0    0.5  0.5
Obstetrics_and_Gynecology  83  2   2   5    7.8  0    0.1  0.1
Anesthesiology             4   0   3   58   35   0    0    0
Pathology                  6   58  2   24   10   0    0    0
""", SPECIALTIES)  # fmt: skip

# In the order of PROCEDURES: ANES EM MED PL RAD SAS SCS SDS SEOA SGS SIS SMCD SMS SNS SO SRS SUS.
PROCEDURE = _table("""
Internal                   0.1 67  19  6    2   0.1 2.8 1.2 0.2 0.2 0.8 0.02 0.3 0.1 0.05 0.05 0.1
Laboratory                 0   1   1   96   0.2 0   1.8 0   0   0   0   0    0   0   0    0    0
General_Practice           0   74  14  7    0.9 0   1.8 0.4 0.3 0.1 0.9 0.02 0.2 0.1 0    0    0
Surgery                    0.3 48  5   3    7   0.3 3   3   9   1.2 9   0.1  7   1   1    0.1  3
Diagnostic_Imaging         0   1   3   0.3  92  0   1.7 0.3 0   0.1 0.6 0    0.3 0.4 0    0    0.3
Emergency                  0   82  8   1    3   0   2.5 0.1 0.3 0.1 2   0    0.6 0   0    0    0.1
Other                      0.4 40  37  7    5   0.2 5   1   1.5 0.3 1.2 0.05 0.8 0.3 0.1  0.05 0.1
Pediatrics                 0   72  20  6    0.3 0   1   0   0.2 0.1 0.3 0    0.1 0   0    0    0
Rehabilitation             0   6   89  0    0.3 0   3   0   0   0   0.2 0    1.2 0.3 0    0    0
Obstetrics_and_Gynecology  0   57  4   17   10  0   2   0.2 0   0.5 0.3 3    0.2 0   0    2.5  3.3
Anesthesiology             78  4   4   0    1.5 0   4   1   0   0   0   0    1   6.5 0    0    0
Pathology                  0   1   1   94   1   0   2.5 0   0.1 0.1 0.3 0    0   0   0    0    0
""", SPECIALTIES)  # fmt: skip

# Days in hospital, in the order of STAYS; the official claims have none of the fourth line.
STAY = np.array([
    56_700, 6_485, 3_246, 1_500, 510, 179,
    1_143, 961, 903,
    0, 0,
    2,
], dtype=float)  # fmt: skip
STAY_KNOWN = 0.5  # of inpatient claims that are not suppressed
STAY_SUPPRESSED = 0.11  # of inpatient claims
# Claims with a Charlson index in 1-2, 3-4, 5+.
CHARLSON_LEVEL = np.array([0.955, 0.039, 0.006])
CHARLSON_TOLD = 0.75  # of the claims of a member and year with such an index

MOST_CLAIMS = 44
STAY_URGENT = 0.1  # of claims in urgent care that come with a stay too
CHARLSON_BASE = -2.1
