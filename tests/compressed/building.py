"""Compressed indexes for tests, without ids and texts."""

import numpy as np

from xtrkit.indexing.codec import BucketCodec, codec_named
from xtrkit.indexing.compressed_format import open_quantiser, open_tokens, write_quantiser
from xtrkit.indexing.postings import compress, train
from xtrkit.indexing.spool import Spool, claim
from xtrkit.kernels import reference_codes as twin
from xtrkit.passage import Passage
from xtrkit.recipes import XTR
from xtrkit.search.compressed import chosen_clusters, imputed, search
from xtrkit.token_retrieval.centroid import open_clusters, quantised, token_hits
from xtrkit.values import Ragged


def batches_of(rows, lengths, size=7):
    ends = np.cumsum(lengths)
    for first in range(0, len(lengths), size):
        part = np.asarray(lengths[first : first + size])
        last = ends[first + len(part) - 1]
        yield Ragged(rows[last - part.sum() : last], part)


def built(path, rows, lengths, nbits=4, codec="grid", size=7):
    """Build and open a compressed index of (M, d) rows of documents of some lengths."""
    path.mkdir()
    workplace = path.parent / f".{path.name}.building"
    with claim(workplace), Spool(workplace, "", durable=False) as spool:
        for batch in batches_of(rows, lengths, size):
            spool.append(batch, [Passage(str(spool.count + i)) for i in range(len(batch))])
        spool.flush()
        quantiser, assigned = train(spool, codec_named(codec, nbits))
        write_quantiser(path, "codec", quantiser)
        compress(spool, quantiser, path, "tokens", assigned=assigned)
    return opened(path, len(lengths), int(np.sum(lengths)), nbits, codec)


def opened(path, n_documents, n_tokens, nbits=4, codec="grid"):
    """The index that was built in a directory."""
    return open_tokens(path / "tokens", open_quantiser(path / "codec", codec, nbits), n_documents, n_tokens)


def ranked(corpus, query, k=10, recipe=XTR, subset=None):
    """Documents and scores of a search."""
    found = search(corpus, query, k, resolved(corpus, recipe, k), subset)
    return found.documents, found.scores


def evidence_of(corpus, query, recipe=XTR):
    """Hits and m_i of the first look of a search."""
    quantised_query, recipe = quantised(query, corpus.quantiser), resolved(corpus, recipe)
    probes = open_clusters(corpus, quantised_query, chosen_clusters(corpus, quantised_query, recipe))
    lowest, missing = imputed(corpus, quantised_query, probes, recipe)
    return token_hits(corpus, probes, lowest), missing


def resolved(corpus, recipe, k=10):
    return recipe.resolved(k, corpus.n_documents, corpus.n_clusters)


def decoded(index):
    """The (M, d) vectors that the index stands for, document after document, in rotated space."""
    codec, centroids, step = index.quantiser.codec, index.quantiser.centroids, index.quantiser.table.step
    centroids = centroids.vectors * centroids.scales.astype(np.float64)[:, np.newaxis]
    centroids = centroids.repeat(np.diff(index.cluster_offsets), axis=0)
    if isinstance(codec, BucketCodec):
        values = step * np.rint(codec.weights / step)  # as search rounds them
        by_row = index.scales[:, np.newaxis] * (centroids + twin.decode_buckets(index.codes, index.bits, values))
    else:
        by_row = centroids + twin.decode(index.codes, index.scales, index.bits)
    return by_row[index.positions]


def rounded(query, index):
    """The (n, d) query as centroids meet it."""
    quantised_query = quantised(query, index.quantiser)
    tokens = quantised_query.tokens[:, : index.dim]
    return tokens * quantised_query.scales.astype(np.float64)[:, np.newaxis]


def of_rows(index, query):
    """(n, M) similarities with all tokens, by row: of the query as centroids and as codes meet it, both decoded."""
    quantised_query, by_row = quantised(query, index.quantiser), np.empty((index.n_tokens, index.dim))
    by_row[index.positions] = decoded(index)
    centroids = index.quantiser.centroids.decoded().astype(np.float64)
    centroids = centroids.repeat(np.diff(index.cluster_offsets), axis=0)
    if isinstance(index.quantiser.codec, BucketCodec) or index.bits == 8:
        return rounded(query, index) @ by_row.T
    planes = quantised_query.planes[:, :, : index.codes.shape[1]].reshape(len(query), index.dim)
    of_codes = planes * quantised_query.code_scales.astype(np.float64)[:, np.newaxis]
    return rounded(query, index) @ centroids.T + of_codes @ (by_row - centroids).T
