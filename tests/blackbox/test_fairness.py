"""Each worker gets its share of the connections."""

from collections import Counter

import pytest
from podtest.load import Load
from podtest.types import GREEN, params

#: The busiest worker may have so many times the requests of the idlest.
SPREAD = 1.3


@pytest.mark.parametrize("kind", params())
def test_a_connection_per_request_is_spread_evenly(serve, kind):
    # Greenlets wait side by side: with short requests all workers were idle, and it would not matter who takes one.
    pace = "0.03" if kind and kind[-1] in GREEN else "0.005"
    server = serve("pace:application", *kind, "--workers", "8", environment={"PACE": pace})
    server.admin.wait_workers(8)
    seen: Counter[str] = Counter()
    with Load(server.address, clients=64, limit=5000, check=lambda r: seen.update([r.text]) is None) as load:
        load.join()
    assert load.summary() == {"ok": 5000}
    assert len(seen) == 8
    assert max(seen.values()) / min(seen.values()) < SPREAD, seen
