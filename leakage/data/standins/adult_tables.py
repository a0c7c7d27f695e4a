"""The tables of the stand-in for UCI Adult: rounded shares of adult.data (CC BY 4.0)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FEMALE_SHARE = 0.3308
COPIES_SHARE = 1 / 900
"""Share of the records that repeat another one in all 15 fields, over both files, as in Adult."""

Table = tuple[NDArray[np.str_], NDArray[np.float64]]
"""The names (c,) of a variable and their weights (groups, c)."""


def table(text: str) -> Table:
    """Reads lines of a name and its weight in each group."""
    rows = [line.split() for line in text.strip().splitlines()]
    return np.array([row[0] for row in rows]), np.array([row[1:] for row in rows], dtype=float).T


# Ages from FIRST_AGE[b] to just below FIRST_AGE[b + 1] are band b; the last band is open.
FIRST_AGE = np.array([17, 20, 23, 26, 31, 36, 46, 56, 66])

# By sex (male, female).
AGE_BAND = table("""
0  39  75
1  55  96
2  71  91
3 125 134
4 140 120
5 258 221
6 180 150
7  96  77
8  36  36
""")

# By sex and age band: nine columns of men, nine of women.
MARITAL = table("""
Divorced                1   7  20  53  91 120 108  88  39   7  17  66 147 275 401 436 345 180
Married-AF-spouse       0   0   0   3   0   0   0   0   0   2   1   1   2   3   1   0   0   3
Married-civ-spouse     14 105 249 484 633 722 802 824 792  15  38 105 177 195 218 194 161  73
Married-spouse-absent   1   7   8   8  10  10  13   9  12   4  12  12  24  21  22  27  18  16
Never-married         981 875 706 433 241 120  55  46  57 965 913 777 592 405 237 141  95  94
Separated               1   7  17  19  24  25  15  14   6   6  17  38  54  86  83  85  47  23
Widowed                 1   0   0   1   1   3   8  20  94   0   2   1   6  16  38 116 335 612
""")

# The never married, by sex and age band up to 46 and more.
RELATIONSHIP_NEVER_MARRIED = table("""
Not-in-family   96 242 425 564 644 731 763 118 282 426 557 573 582 649
Other-relative  70  79  61  83  43  37  62  61  52  45  40  38  35  64
Own-child      824 645 454 290 239 178 105 801 600 433 261 174 152  96
Unmarried       10  34  61  63  73  55  71  20  67  96 142 216 230 190
""")

# The others, by sex and marital status in the order of MARITAL (never married: no weight needed).
RELATIONSHIP = table("""
Husband          0 1000 991   0 0   0   0   0   0   0   0 0   0   0
Not-in-family  693    0   1 648 1 650 577 440   0   3 356 1 260 545
Other-relative  25    0   5 113 0  53  36  24  71  32  39 0  54  51
Own-child      100    0   3  70 0 117  12  57  71  27 146 0  84  16
Unmarried      182    0   0 169 0 180 375 479   0   0 459 0 602 388
Wife             0    0   0   0 0   0   0   0 858 938   0 0   0   0
""")

# By sex and age 17-19, 20-22, 23-25, 26-55, 56-65, 66 and over.
EDUCATION = table("""
Preschool      1   2   1   1   2   3   0   0   3   2   0   5
1st-4th        4   3   5   5  14  12   0   0   5   4   7  23
5th-6th        8  13  13  10  18  27   0   4   4   9  13  18
7th-8th       17   8  18  17  54  88   4   5   7  11  52  65
9th           32  21  18  13  30  31  15   8   7  13  22  34
10th         132  29  21  22  40  44  99  15  15  19  49  42
11th         244  33  34  23  31  35 227  23  21  25  31  29
12th          78  22  18   9  12   5  74   9   7   9  10   5
HS-grad      251 355 329 330 328 284 263 257 257 325 390 388
Some-college 231 430 255 191 156 158 311 558 272 220 205 161
Assoc-voc      1  28  35  47  30  13   2  33  43  56  28  65
Assoc-acdm     0  22  40  34  17   8   1  34  44  46  24  26
Bachelors      0  31 200 193 148 155   2  54 285 175  97  65
Masters        0   2  13  65  63  56   1   0  25  66  56  52
Prof-school    0   0   0  25  31  43   0   0   3  12   4   8
Doctorate      0   0   0  16  25  40   0   0   1  10  12  13
""")
EDUCATION_GROUP = np.array([0, 1, 2, 3, 3, 3, 3, 4, 5])

# By sex and education-num up to 8, 9, 10, 11-12, 13, 14-16, where the occupation is known.
OCCUPATION = table("""
Adm-clerical       23  56  84  67  64  25  83 286 322 280 165  45
Armed-Forces        0   1   0   0   0   1   0   0   0   0   0   0
Craft-repair      222 256 183 227  57  14  26  30  17  22   9   4
Exec-managerial    27  76 130 121 278 240  21  78 105 119 205 179
Farming-fishing    82  54  34  41  20   8  13   6   7   3   2   0
Handlers-cleaners 118  73  54  30  12   3  29  26  10   7   2   0
Machine-op-inspct 109 106  53  52  15   4 131  80  26  18   9   4
Other-service     136  78  77  54  27   6 331 214 155 121  49  18
Priv-house-serv     1   0   0   1   1   0  49  14   6   5   3   1
Prof-specialty     12  19  58  92 245 571  16  29  61 181 358 668
Protective-serv    10  27  39  49  23   8   5   6  10   8   9   0
Sales              55  91 139 116 173  67 145 124 138  79 101  36
Tech-support        4  14  35  79  41  18   7  17  41  86  46  15
Transport-moving  115 109  58  40  16   7   8  15   7   7   1   0
""")
EDUCATION_NUM_ENDS = np.array([8.5, 9.5, 10.5, 12.5, 13.5])
UNKNOWN_OCCUPATION = np.array([165, 127, 45, 37, 29, 18, 28, 98, 264]) / 1000  # by age band
UNKNOWN_OCCUPATION_FACTOR = np.array([0.82, 1.3])  # by sex

# By occupation, in the order of OCCUPATION.
WORKCLASS = table("""
Federal-gov       84 1000  16  44   8  17   7  11    0  42  43   4  73  16
Local-gov         75    0  36  53  29  34   6  59    0 170 468   2  41  72
Private          751    0 779 662 458 929 956 832 1000 559 293 806 793 793
Self-emp-inc       8    0  26  98  51   1   6   8    0  39   8  80   3  17
Self-emp-not-inc  13    0 130  96 433  11  18  53    0  90   9 105  28  76
State-gov         67    0  14  46  15   7   6  38    0 100 179   3  61  26
Without-pay        1    0   0   0   6   1   0   0    0   0   0   0   0   1
""")
NEVER_WORKED_SHARE = 0.004  # of the unknown occupations; the workclass of the others is unknown

# First and last hours; by sex, age 17-22, 23-65, 66 and over, and occupation of short, usual and
# long hours.
HOURS = table("""
1-19  170 108  84  39  14   8 342 207 183 206 204 101  60  39  27 349 309 353
20-20 133  98  84  26  11  10 114  82 127 140 180  87  47  31  16 160 111  29
21-34 201 153 168  90  31  27 189 168 108 231 239 217 131  89  56 160 185 176
35-39  75  78  46  61  42  32  39  61  61  91  87  87 132 105  83  74  62  29
40-40 328 414 387 578 513 388 235 279 277 296 239 391 508 506 498 216 259 206
41-49  32  62  67  77 131 128  32  61  47  18  23  29  54  94 121   7   0  88
50-50  30  36  63  57 117 165  14  64  89   9   8  43  27  62 102   4  74  29
51-59  10  24  25  21  43  59   7  29  42   5   8  14  14  23  38   0   0  59
60-60  11  17  21  28  60 101  14  21  23   4  10  29  12  30  33   7   0   0
61-99  10  11  55  23  38  83  14  29  42   0   3   0  15  21  26  22   0  29
""")
SHORT_HOURS = ("?", "Other-service", "Priv-house-serv", "Adm-clerical", "Handlers-cleaners")
LONG_HOURS = ("Exec-managerial", "Farming-fishing", "Transport-moving")

# By sex.
RACE = table("""
Amer-Indian-Eskimo   9  11
Asian-Pac-Islander  32  32
Black               72 144
Other                7  10
White              880 802
""")

# By race, in the order of RACE.
COUNTRY = table("""
?                            0  80  31  66   14
Cambodia                     0  17   0   0    0
Canada                       0   1   0   4    4
China                        0  70   0   0    0
Columbia                     3   0   0  26    2
Cuba                         0   0   1   7    3
Dominican-Republic           0   1   4  66    1
Ecuador                      0   0   0  33  0.7
El-Salvador                  0   0   0  15    4
England                      0   1   3   0    3
France                       0   0   0   0    1
Germany                      3   3   3   4    4
Greece                       0   1   0   0    1
Guatemala                    0   0   0  15    2
Haiti                        0   1  14   0    0
Holand-Netherlands           0   0   0   0 0.05
Honduras                     0   0 0.3   0  0.4
Hong                         3  16   0   0  0.1
Hungary                      0   0   0   0  0.5
India                        0  82   1  18  0.3
Iran                         0   6   0   7    1
Ireland                      0   1   0   0    1
Italy                        0   0   0   0    3
Jamaica                      0   0  24   4  0.2
Japan                        0  37   1   7    1
Laos                         0  17   0   0    0
Mexico                      26   1   1 148   21
Nicaragua                    0   0   1  15    1
Outlying-US(Guam-USVI-etc)   0   0   2   0  0.3
Peru                         0   0   0   4    1
Philippines                  3 181   0   0  0.3
Poland                       0   1   0   0    2
Portugal                     0   1   0   0    1
Puerto-Rico                  3   1   3  77    3
Scotland                     0   0   0   0  0.4
South                        6  74   0   0    0
Taiwan                       0  46   0   4  0.1
Thailand                     0  15   0   0  0.1
Trinadad&Tobago              0   2   5   4    0
United-States              952 281 907 476  921
Vietnam                      0  63   0   0  0.1
Yugoslavia                   0   0   0   0  0.6
""")

# The logistic model of an income above 50K. Ages by band, the others by name.
INCOME_INTERCEPT = -3.12
INCOME_AGE = np.array([-2.31, -1.71, -1.07, -0.24, 0.22, 0.70, 0.97, 0.78, 0.42])
INCOME_EDUCATION_NUM = 0.29  # each above 10
INCOME_MARRIED = 2.19
INCOME_FEMALE = -0.16
INCOME_HOURS = 0.029  # each above 40
INCOME_JOB = {
    "?": -0.4,
    "Exec-managerial": 0.77,
    "Farming-fishing": -0.95,
    "Handlers-cleaners": -0.73,
    "Machine-op-inspct": -0.4,
    "Other-service": -0.9,
    "Priv-house-serv": -1.31,
    "Prof-specialty": 0.57,
    "Protective-serv": 0.55,
    "Sales": 0.28,
    "Tech-support": 0.57,
    "Transport-moving": -0.2,
    "Federal-gov": 0.4,
    "Local-gov": -0.2,
    "Self-emp-inc": 0.3,
    "Self-emp-not-inc": -0.4,
    "State-gov": -0.4,
}

# Values in dollars and weights, by income (up to 50K, above); shares of records that have one.
GAIN = table("""
594 34 0
2174 48 0
2829 31 0
3325 53 0
3908 32 0
4064 42 0
4650 41 0
5013 69 0
3103 7 90
4386 12 58
6849 27 9
5178 0 97
7298 0 246
7688 0 284
8614 0 55
10520 0 43
14084 0 41
15024 0 347
20051 0 37
27828 0 34
99999 0 159
""")
GAIN_SHARE = np.array([0.042, 0.214])
LOSS = table("""
1408 21 0
1485 20 31
1590 40 0
1602 47 0
1672 34 0
1740 42 0
1876 39 0
2001 24 0
2339 17 0
1564 0 25
1848 0 51
1887 0 159
1902 13 189
1977 0 168
2258 12 13
2415 0 49
2559 0 12
""")
LOSS_SHARE = np.array([0.030, 0.099])
