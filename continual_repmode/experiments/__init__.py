"""The paper's experiments, and some beyond it: many runs, gathered into tables.

``tables`` says what each table consists of, ``identity`` which settings make two runs
the same, ``campaign`` carries out the runs that are missing, ``record`` keeps what each
left behind, and ``summary``, ``rendering`` and ``figures`` make of these records what
people read.
"""
