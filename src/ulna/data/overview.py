"""What the data set holds: how large the splits are, and which pictures to show of it."""

import pandas as pd


def count_splits(rows: pd.DataFrame) -> pd.DataFrame:
    """Count studies and images.

    Args:
        rows: One row an image: study, body_part, split, label.

    Returns:
        One row for each body part, split and label that occur, sorted: body_part, split, label,
        studies, images.
    """
    keys = ["body_part", "split", "label"]
    return rows.groupby(keys, as_index=False).agg(
        studies=("study", "nunique"), images=("study", "size")
    )


def choose_examples(rows: pd.DataFrame, pictures: int) -> pd.DataFrame:
    """Choose train images to show: the first views of evenly spread studies, by part and label.

    Of n studies in plain order, those in the middle of as many equal stretches as there are places
    are taken: no chance is in it, and not all come from the lowest patient numbers.

    Args:
        rows: One row an image: image, study, body_part, split, label, and more; some are train.
        pictures: About how many to choose of each label; each body part gets an equal share, at
            least two.

    Returns:
        The chosen rows with a column `place`, counted from 0 within a body part and label. Where
        studies are few there are fewer rows.
    """
    train = rows[rows["split"] == "train"].sort_values("image", kind="stable")
    studies = train.drop_duplicates("study").sort_values("study", kind="stable")
    share = max(2, pictures // studies["body_part"].nunique())
    chosen = [
        cell.iloc[[(2 * place + 1) * len(cell) // (2 * places) for place in range(places)]].assign(
            place=range(places)
        )
        for _, cell in studies.groupby(["body_part", "label"])
        for places in [min(share, len(cell))]
    ]
    return pd.concat(chosen, ignore_index=True)


def first_views(rows: pd.DataFrame, studies: pd.DataFrame) -> pd.DataFrame:
    """Find a picture of each study in a list.

    Args:
        rows: One row an image: image, study, row, and more.
        studies: One row a study: study, and more.

    Returns:
        `studies` in its order, with the row in the cache of the first view of each.
    """
    first = rows.sort_values("image", kind="stable").drop_duplicates("study")
    return studies.merge(first[["study", "row"]], on="study", validate="one_to_one")
