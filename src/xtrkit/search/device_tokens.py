"""A copy of a compressed corpus on a device of torch's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xtrkit.devices import device_named
from xtrkit.indexing.codec import BucketCodec
from xtrkit.token_retrieval.corpus import ClusteredCorpus


@dataclass(frozen=True, eq=False)
class DeviceTokens:
    """The living tokens of a compressed corpus on a device, all segments as one.

    Attributes:
        bits: bits a dimension of a code.
        n_documents: N, dead ones included.
        rotation: (d, d).
        centroids: (C, d) float32.
        offsets: (C + 1,) rows of each cluster, not on the device.
        clusters: (M,) int32, the cluster of each row.
        codes: (M, w).
        scales: (M,) float16.
        documents: (M,) int64.
        positions: (M,) int64, the rows document after document, in order of token.
        document_offsets: (N + 1,) where each document's begin and end there; dead ones have none.
        byte_values: (256, 8 / b) what each byte stands for with :class:`BucketCodec`; empty for an affine grid.
        places: (M,) int64 which token each row is, counted document after document through the whole index.
    """

    bits: int
    n_documents: int
    rotation: torch.Tensor
    centroids: torch.Tensor
    offsets: npt.NDArray[np.int64]
    clusters: torch.Tensor
    codes: torch.Tensor
    scales: torch.Tensor
    documents: torch.Tensor
    positions: torch.Tensor
    document_offsets: torch.Tensor
    byte_values: torch.Tensor
    places: torch.Tensor

    @classmethod
    def of(cls, corpus: ClusteredCorpus, device: str) -> DeviceTokens:
        """Copy a corpus to a device, where it takes some 90 bytes a token at 4 bits and 128 dimensions.

        Raises:
            InputError: torch has no such device here.
        """
        place = device_named(device)

        def there(array: npt.NDArray[Any]) -> torch.Tensor:
            return on_device(array, place)

        parts = []
        for first, segment in zip(corpus.first_documents, corpus.segments, strict=True):
            tokens = segment.tokens
            kept = segment.living[tokens.documents]
            clusters = np.repeat(np.arange(tokens.n_clusters, dtype=np.int32), np.diff(tokens.cluster_offsets))
            documents = tokens.documents.astype(np.int64) + first
            places = np.empty(tokens.n_tokens, dtype=np.int64)
            places[tokens.positions] = corpus.document_offsets[first] + np.arange(tokens.n_tokens)
            arrays = (clusters, tokens.codes, tokens.scales, documents, places)
            parts.append([there(array[kept]) for array in arrays])
        cluster_of, codes, scales, document_of, places_of = (torch.cat(arrays) for arrays in zip(*parts, strict=True))
        order = torch.sort(cluster_of, stable=True).indices
        document_of = document_of[order]
        quantiser, codec = corpus.quantiser, corpus.quantiser.codec
        every_byte = np.arange(256, dtype=np.uint8)[:, np.newaxis]
        values = codec.weights[codec.buckets(every_byte)] if isinstance(codec, BucketCodec) else np.zeros((0, 1))
        return cls(
            bits=quantiser.bits,
            n_documents=corpus.n_documents,
            rotation=there(quantiser.rotation),
            centroids=there(quantiser.centroids.decoded()),
            offsets=corpus.cluster_offsets,
            clusters=cluster_of[order],
            codes=codes[order],
            scales=scales[order],
            documents=document_of,
            positions=torch.sort(places_of[order]).indices,
            document_offsets=offsets_on_device(torch.bincount(document_of, minlength=corpus.n_documents)),
            byte_values=there(values.astype(np.float32)),
            places=places_of[order],
        )

    @property
    def device(self) -> torch.device:
        """Where all of it is."""
        return self.rotation.device

    @property
    def n_tokens(self) -> int:
        """Number of token vectors, M."""
        return len(self.documents)

    def vectors(self, rows: torch.Tensor) -> torch.Tensor:
        """(B,) rows -> (B, d) decompressed vectors."""
        packed, scales = self.codes[rows], self.scales[rows].float()[:, None]
        centroids = self.centroids[self.clusters[rows].long()]
        if len(self.byte_values):
            return torch.mul(centroids + self.byte_values[packed.long()].flatten(1), scales)
        mask = 2**self.bits - 1
        fields = [(packed >> shift) & mask for shift in range(0, 8, self.bits)]
        return torch.addcmul(centroids, torch.cat(fields, dim=1).float() - mask / 2, scales)


def on_device(array: npt.NDArray[Any], device: torch.device) -> torch.Tensor:
    """A copy of an array there."""
    return torch.from_numpy(np.array(array)).to(device)


def offsets_on_device(lengths: torch.Tensor) -> torch.Tensor:
    """(N,) lengths -> (N + 1,) where each run begins and ends."""
    return torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
