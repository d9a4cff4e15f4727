"""`train predict` between standard input and output."""

import sys
import warnings

from curation.errors import InputError
from train.config import PredictSettings


def predict_command(settings: PredictSettings) -> int:
    """0 if any row was scored or there was none; 1 if none of them could be."""
    from train.arguments import quieten

    quieten()
    warnings.simplefilter("ignore", FutureWarning)  # between libraries; standard error is for the rows' problems
    if settings.serve:
        from train.serve import serve

        return serve(settings)
    if sys.stdin.isatty():
        raise InputError(f"give rows on standard input: train predict adapter={settings.adapter} < in.csv > out.csv")
    from train.predict import predict

    with open(sys.stdout.fileno(), "w", encoding="utf-8", newline="", closefd=False) as out:
        tally = predict(settings, sys.stdin.buffer, out, sys.stderr)
    return 0 if tally.scored or not tally.rows else 1
