"""Many shots: a list of requests, solved one by one or by the machines of a farm, and one report (docs/farm.md)."""
