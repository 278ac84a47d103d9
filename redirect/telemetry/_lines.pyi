from redirect.telemetry.access_log import LineFormatter
from redirect.telemetry.record import Record

def make(formatter: LineFormatter, records: list[Record], to_wall: int, max_bytes: int) -> bytes: ...
