"""Every tolerance of the suite, once.

The truth is float64. A comparison that needs a looser row than the one it has is a bug to find,
not a number to change.
"""

# The same function summed in another order: values and gradients, float64.
EXACT = {"rtol": 1e-12, "atol": 1e-12}

# The same where whole periods are taken away of a time: one unit in the last place of a period or
# shift moves the reference's own results by 4e-11.
EXACT_PERIODIC = {"rtol": 1e-10, "atol": 1e-10}

# A gradient against central differences of an outside witness, float64, step 1e-5.
DIFFERENCES = {"rtol": 1e-6, "atol": 1e-8}

# float32 against float64.
SINGLE = {"rtol": 1e-5, "atol": 1e-6}

# The same of what is left of a time when its whole periods are taken away: few of its digits.
PERIODIC = {"rtol": 1e-3, "atol": 1e-4}

# Half precision against float64, by dtype name: a few units in the last place of the outputs.
HALF = {"float16": {"rtol": 0, "atol": 4e-3}, "bfloat16": {"rtol": 0, "atol": 3e-2}}
