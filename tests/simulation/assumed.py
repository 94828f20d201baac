"""What nobody measured: assumed, with a reason each. Change one here, and every simulated table follows."""

from __future__ import annotations

from collections.abc import Mapping

ANSWER_SECONDS: Mapping[str, float] = {"webhook": 0.15, "email": 0.01, "slack": 0.30}
"""Until a provider answers, in the middle: webhooks and Slack over the internet, e-mail to a relay nearby."""
FAR_RELAY_SECONDS = 0.25
"""Until a mail provider answers that is spoken to over the internet."""
ANSWER_SPREAD = 0.5
"""Standard deviation of the answer's logarithm: one in a hundred takes three times as long."""
SEND_CPU: Mapping[str, float] = {"email": 0.003, "slack": 0.003}
"""Seconds of the event loop for a send that ``--measure`` does not measure: 300 e-mails of 70 kB a second a process."""
FAILING = 0.01
"""Part of all attempts that end in a transient failure."""

CHANNELS: Mapping[str, float] = {"email": 0.70, "webhook": 0.20, "slack": 0.10}
"""Part of all subscriptions."""
FREQUENCIES: Mapping[str, float] = {"weekly": 0.45, "monthly": 0.30, "daily": 0.23, "yearly": 0.02}
"""Part of all subscriptions."""
A_DAY: Mapping[str, float] = {"weekly": 1.6 / 7, "monthly": 12 / 365.25, "daily": 1.0, "yearly": 1 / 365.25}
"""Occurrences of one of them on an average day: two weekly ones in five name several weekdays."""
ON_THE_FULLEST_DAY: Mapping[str, float] = {"weekly": 0.40, "monthly": 0.25, "daily": 1.0, "yearly": 0.02}
"""And on the fullest: a Monday that is the first of a month."""
AT_NINE = 0.30
"""Part of everyone who chose nine o'clock, local time; the others are spread evenly over the quarters of the day."""
ZONES: Mapping[float, float] = {-8: 0.10, -6: 0.08, -5: 0.18, -3: 0.05, 0: 0.10, 1: 0.25, 2: 0.06, 5.5: 0.08, 8: 0.10}
"""Hours from UTC, and the part of everyone who lives there."""
PER_ENDPOINT = 50
"""Subscriptions to the same webhook endpoint; to the same Slack channel there are three."""
PER_CHANNEL = 3
WIDER_LANES: Mapping[str, int] = {"email": 64, "webhook": 8, "slack": 1}
"""At once to one destination from each process, where e-mail's lane is widened for a relay that can take it."""
FULLEST_SHARD = 1.15
"""How much more than the average the fullest shard has, by a hash of the project's id."""

SERVER_CORES = 8
"""Of a PostgreSQL server of its own; a core is as fast as one of the measured machine."""
SENDING_CORES = 8
"""Of the machines, all together, that send for one such server."""
NETWORK_ROUND_TRIP = 0.0005
"""Seconds to a PostgreSQL server in the same place and back, for each statement."""
KEPT_DAYS = 90
"""How long deliveries are kept."""
