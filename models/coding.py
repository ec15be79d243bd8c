"""What a lossless codec needs of an entropy coder, so that families do not depend on one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray


class EntropyCoder(ABC):
    """A sequence of bits that symbols are put into and taken out of."""

    @abstractmethod
    def put(self, symbols: NDArray[np.int32], probabilities: NDArray[np.float32]) -> None:
        """Write symbols.

        Args:
            symbols: shape (N,), each from 0 to K - 1.
            probabilities: of each, shape (N, K). They need not sum to 1, and none is taken for 0:
                every symbol can be written, at a price.
        """

    @abstractmethod
    def take(self, probabilities: NDArray[np.float32]) -> NDArray[np.int32]:
        """Read as many symbols as there are rows of probabilities, shape (N,).

        The probabilities must be those that the same symbols were put with, to the last bit. A
        queue gives symbols in the order in which they came, over all calls; a stack gives those of
        the last call first, each call's as a whole.
        """
