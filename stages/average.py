"""Average the networks into an ensemble: one more prediction table, judged like any other."""

import sys

from ulna import paths
from ulna.console import run
from ulna.judging.ensemble import average as average_tables
from ulna.judging.ensemble import common, sha256_of_members
from ulna.params import load_params
from ulna.predictions import read_origin, read_predictions, write_origin, write_predictions


def average() -> None:
    """Load the prediction tables of all networks, average them, write the ensemble's."""
    networks = load_params(paths.PARAMS).networks
    tables = {arch: read_predictions(paths.predictions(arch)) for arch in networks}
    origins = [read_origin(paths.origin(arch)) for arch in networks]
    ensemble = average_tables(tables)
    write_predictions(paths.predictions(paths.ENSEMBLE), ensemble)
    write_origin(
        paths.origin(paths.ENSEMBLE),
        sha256_of_members([origin["model_sha256"] for origin in origins]),
        common([origin["environment"] for origin in origins]),
        common([origin["predicted_on"] for origin in origins]),
    )
    print(
        f"average: {len(ensemble)} images, mean probability of {' and '.join(networks)}, "
        f"in {paths.predictions('ensemble')}"
    )


if __name__ == "__main__":
    run(average, *sys.argv[1:])
