-- The access logs of all replicas in ClickHouse (tested with the engine of 26.9), with a column for each key of a record (docs/logs.md).
-- Each name has its database, as the image of ClickHouse's server runs this in `default`. By hand, any number of times:
-- clickhouse-client --multiquery < clickhouse.sql

CREATE DATABASE IF NOT EXISTS redirect;

-- What the service wrote, line by line: records, and markers of lost lines, which have no status.
--
-- `logged` is when the engine took the line, to the nanosecond. A collector that was killed sends its last lines again:
-- one with the same key is the same line, and is merged with it, or by FINAL left out.
--
-- Low cardinality is for what the configuration bounds. What clients send is not bounded.
CREATE TABLE IF NOT EXISTS redirect.access_lines
(
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD),
    level LowCardinality(String),
    pool_requested Nullable(String) CODEC(ZSTD),
    pool LowCardinality(Nullable(String)),
    origin LowCardinality(Nullable(String)),
    location Nullable(String) CODEC(ZSTD),
    status Nullable(UInt16) CODEC(ZSTD),
    method LowCardinality(Nullable(String)),
    host Nullable(String) CODEC(ZSTD),
    path Nullable(String) CODEC(ZSTD),
    query Nullable(String) CODEC(ZSTD),
    client_ip Nullable(String) CODEC(ZSTD),
    user_agent Nullable(String) CODEC(ZSTD),
    referer Nullable(String) CODEC(ZSTD),
    trace_id Nullable(String) CODEC(ZSTD),
    request_id Nullable(String) CODEC(ZSTD),
    duration_us Nullable(UInt64) CODEC(T64, ZSTD),
    instance LowCardinality(String),
    worker Nullable(UInt32) CODEC(ZSTD),
    config LowCardinality(Nullable(String)),
    route LowCardinality(Nullable(String)),
    action LowCardinality(Nullable(String)),
    origin_status Nullable(UInt16) CODEC(ZSTD),
    origin_us Nullable(UInt64) CODEC(T64, ZSTD),
    tries Nullable(UInt16) CODEC(ZSTD),
    bytes_in Nullable(UInt64) CODEC(T64, ZSTD),
    bytes_out Nullable(UInt64) CODEC(T64, ZSTD),
    served_from LowCardinality(Nullable(String)),
    due Nullable(Float64) CODEC(ZSTD),
    weights LowCardinality(Nullable(String)),
    detail LowCardinality(Nullable(String)),
    fallback_for LowCardinality(Nullable(String)),
    truncated Nullable(Bool),
    lost Nullable(UInt64),
    logged DateTime64(9, 'UTC') CODEC(Delta, ZSTD)
)
ENGINE = ReplacingMergeTree
PARTITION BY toDate(time)
ORDER BY (toStartOfHour(time), pool, origin, instance, time, logged)
TTL toDateTime(time) + INTERVAL 30 DAY
-- What was acknowledged outlives a power cut.
SETTINGS allow_nullable_key = 1, ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

-- What `redirect logs query` asks: the records, each once.
CREATE VIEW IF NOT EXISTS redirect.access AS
SELECT * EXCEPT (lost, logged) FROM redirect.access_lines FINAL WHERE status IS NOT NULL;
