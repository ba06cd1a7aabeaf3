"""Projection of features on a plane: t-SNE, or UMAP where it is installed."""

import importlib
import importlib.util

import numpy as np

from backbone.common.errors import InputError

PROJECTIONS = ("tsne", "umap")


def project(features: np.ndarray, method: str, seed: int) -> np.ndarray:
    """Place rows on a plane so that near rows stay near; distances between groups mean nothing.

    Features are standardised, and reduced to their 50 first principal components before t-SNE
    (van der Maaten and Hinton 2008, JMLR 9) or UMAP (McInnes et al. 2018, arXiv 1802.03426).

    Args:
        features: (N, F).
        method: "tsne" or "umap".
        seed: Seed of the map.

    Returns:
        (N, 2).

    Raises:
        InputError: If UMAP is not installed, or there are fewer than four rows.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    if len(features) < 4:
        raise InputError(f"a map needs at least four rows, and there are {len(features)}")
    standard = StandardScaler().fit_transform(features)
    components = min(50, *standard.shape)
    reduced = PCA(components, random_state=seed).fit_transform(standard)
    if method == "umap":
        if importlib.util.find_spec("umap") is None:
            raise InputError("map=umap needs umap-learn: pip install 'genomic-icl[umap]', or tsne")
        neighbours = min(15, len(features) - 1)
        umap = importlib.import_module("umap")
        return umap.UMAP(n_neighbors=neighbours, random_state=seed).fit_transform(reduced)
    from sklearn.manifold import TSNE

    perplexity = min(30.0, (len(features) - 1) / 3)
    return TSNE(perplexity=perplexity, random_state=seed).fit_transform(reduced)
