"""What tests of several rooms share: every family, tiny and trained for a moment."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from models import registry
from models.capabilities import Conditional, offers
from models.conditions import ConditionSchema
from models.family import Family, FamilyConfig
