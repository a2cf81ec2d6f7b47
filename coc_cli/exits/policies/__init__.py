"""Policies: from what the exits visited so far say, leave here, or go on to which exit.

One line a policy, in the order of tables and charts.
"""

from __future__ import annotations

from coc_cli.registry import registered
from coc_cli.exits.policies.policy import Family, Policy

from coc_cli.exits.policies.classic import Classic
from coc_cli.exits.policies.threshold import Threshold
from coc_cli.exits.policies.hierarchical import Hierarchical
from coc_cli.exits.policies.placement import Placement
from coc_cli.exits.policies.subset import Subset
from coc_cli.exits.policies.patience import Patience
from coc_cli.exits.policies.predictive_conv import PredictiveConv
from coc_cli.exits.policies.predictive import Predictive
from coc_cli.exits.policies.predictive_commit import PredictiveCommit
from coc_cli.exits.policies.oracle import Oracle
from coc_cli.exits.policies.oracle_from_start import OracleFromStart

POLICIES = registered(vars(), Policy)


def names_in(*families: Family) -> tuple[str, ...]:
    """Return the names of the policies of some families, in the registry's order."""
    return tuple(name for name, policy in POLICIES.items() if policy.family in families)
