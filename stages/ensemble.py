"""Average the networks into an ensemble: one more prediction table, evaluated like any other."""

import sys

from ulna.core import paths
from ulna.core.params import load_params
from ulna.core.predictions import read_predictions, write_predictions
from ulna.core.provenance import read_provenance, write_provenance
from ulna.core.stage import run
from ulna.evaluation.ensemble import average, common, sha256_of_members


def ensemble() -> None:
    """Load the prediction tables of all networks, average them, write the ensemble's."""
    params = load_params(paths.PARAMS)
    networks = params.networks
    tables = {arch: read_predictions(paths.predictions(arch)) for arch in networks}
    provenances = [read_provenance(paths.provenance(arch)) for arch in networks]
    mean = average(tables)
    write_predictions(paths.predictions(paths.ENSEMBLE), mean, exact=False)
    write_provenance(
        paths.provenance(paths.ENSEMBLE),
        sha256_of_members([provenance["model_sha256"] for provenance in provenances]),
        common([provenance["environment"] for provenance in provenances]),
        common([provenance["predicted_on"] for provenance in provenances]),
    )
    print(
        f"ensemble: {len(mean)} images, mean probability of {' and '.join(networks)}, "
        f"in {paths.predictions('ensemble')}"
    )


if __name__ == "__main__":
    run(ensemble, *sys.argv[1:])
