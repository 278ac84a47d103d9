from redirect.telemetry.batch import Sums
from redirect.telemetry.record import Record

def add_up(records: list[Record], bounds: tuple[int, ...], counts: memoryview, use: object, now_ms: int) -> Sums: ...
