"""What the article printed, and the formulas of its models.

Marc Jacobs (2021), Introduction to Mixed Models in R. Figures are text where they were printed
with fixed decimals.
"""

from __future__ import annotations

from collections.abc import Mapping

# name -> formula, in the article's order; QR is the model that it tests QT against
FORMULAS: Mapping[str, str] = {
    "I": "BW ~ 1 + (1 | animal)",
    "L": "BW ~ time + (1 | animal)",
    "Q": "BW ~ time + I(time^2) + (1 | animal)",
    "LT": "BW ~ time + treatm + (time | animal)",
    "LxT": "BW ~ time * treatm + (time | animal)",
    "QT": "BW ~ time + I(time^2) + treatm + (time | animal)",
    "QxT": "BW ~ (time + I(time^2)) * treatm + (time | animal)",
    "QR": "BW ~ time + I(time^2) + (time | animal)",
}
ICC = "0.064"
# model -> AICc, difference, weight, evidence ratio
THREE: Mapping[str, tuple[str, str, str, str]] = {
    "Q": ("932.5382", "0.0000", "1", "1.000000e+00"),
    "L": ("960.9260", "28.3878", "0", "1.459925e+06"),
    "I": ("1445.8183", "513.2801", "0", "2.866517e+111"),
}
SEVEN: Mapping[str, tuple[str, str, str, str]] = {
    "QT": ("845.2731", "0.0000", "0.9815", "1.000000e+00"),
    "QxT": ("853.2190", "7.9459", "0.0185", "5.314210e+01"),
    "LT": ("904.5280", "59.2549", "0.0000", "7.362806e+12"),
    "LxT": ("905.3122", "60.0391", "0.0000", "1.089747e+13"),
    "Q": ("932.5382", "87.2652", "0.0000", "8.900052e+18"),
    "L": ("960.9260", "115.6530", "0.0000", "1.299341e+25"),
    "I": ("1445.8183", "600.5453", "0.0000", "2.551215e+130"),
}
# R squared of the line and of the parabola
R_SQUARED: Mapping[str, tuple[str, str]] = {
    "58833": ("0.9401456", "0.9818319"),
    "58838": ("0.9933775", "0.9988962"),
    "58842": ("0.9441755", "0.9562784"),
    "58844": ("0.9948570", "0.9996546"),
    "58855": ("0.9592769", "0.9644571"),
    "58857": ("0.9952800", "0.9954673"),
}
FIXED: Mapping[str, str] = {
    "Intercept": "7.644750106",
    "time": "0.160296158",
    "I(time^2)": "0.005642406",
    "treatm[T.2]": "-0.027922237",
    "treatm[T.3]": "-0.079978283",
    "treatm[T.4]": "0.081867461",
}
# intercept and slope
RANDOM: Mapping[str, tuple[str, str]] = {
    "58833": ("-0.84215052", "0.020826408"),
    "58838": ("0.14472475", "0.116202118"),
    "58842": ("0.72890016", "-0.032279547"),
    "58844": ("-0.27168740", "-0.040408184"),
    "58855": ("1.99977032", "0.042297651"),
    "58857": ("0.36337948", "-0.030983612"),
    "58859": ("0.57012609", "0.046758630"),
    "58861": ("-1.16268046", "-0.025436646"),
    "58877": ("-0.62441343", "-0.189737239"),
    "58879": ("0.63046959", "0.036521097"),
    "58894": ("-1.88534651", "-0.102504893"),
    "58895": ("1.30106656", "-0.024664555"),
    "58905": ("-0.60900735", "0.022391597"),
    "58919": ("-1.30348657", "-0.031411944"),
    "58938": ("1.22407165", "0.071694004"),
    "58939": ("-0.86975057", "-0.111685843"),
}
# running sums of the worked prediction of animal 58833 on day 21
PREDICTION = ("6.802", "10.603", "13.072", "13.045")
# npar, AIC, BIC, logLik, deviance; and the test
LRT: Mapping[str, tuple[str, str, str, str, str]] = {
    "QR": ("7", "836.49", "862.34", "-411.24", "822.49"),
    "QT": ("11", "844.35", "884.98", "-411.17", "822.35"),
}
TEST = ("0.1414", "4", "0.9976")
BOOTSTRAP_P = "0.9940"

CONTRADICTIONS: Mapping[str, str] = {
    "The treatment of animal 58833": (
        "The worked prediction puts the animal into treatment 2. Its printed random effects are "
        "those of an animal of the fifth treatment, whose coefficient is not printed: only with it "
        "do the figures of all sixteen printed animals fit together. With treatment 5 the "
        "prediction is 13.06 kg, with treatment 2 it is 13.07; the article's rounded sum is 13.05."
    ),
    "The best of seven models is not the best": (
        "The table of seven has no quadratic model without treatment. The article fits it later, "
        "for the test. Its AICc is 836.9, and QT's 845.3: the model without treatment is better by "
        "8.4, the same finding as the test's."
    ),
    "Quadratic, but not by overwhelming force": (
        "The table printed beside this sentence says that the quadratic model is 1.46 million "
        "times as well supported as the linear one."
    ),
    "Random slopes make no sense": (
        "So says the last paragraph. Taking them out of QR costs 99.8 units of deviance for two "
        "parameters, and the article's own table has its four best models among those with random "
        "slopes."
    ),
    "R squared prefers the parabola": (
        "For every animal, and it must: R squared never falls when a term is added. Adjusted R "
        "squared prefers the line for a part of the animals."
    ),
    "An ICC of 0.064 promises little": (
        "The ICC of a model without time compares animals with everything else, growth included. "
        "Given time, most of what is left lies between animals."
    ),
}
