-- What the server has counted about the table, or about its partitions that hold rows, as one JSON object.
-- $1 the schema of the table, $2 its name. Runs with a safe search path. A role may be denied these views, so the query
-- stands alone.
WITH whole AS (
  SELECT c.oid, c.relkind FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = $2),
leaves AS (
  SELECT w.oid FROM whole w WHERE w.relkind = 'r'
  UNION ALL
  SELECT p.relid::oid FROM whole w CROSS JOIN pg_partition_tree(w.oid) AS p WHERE w.relkind = 'p' AND p.isleaf)
SELECT json_build_object(
'counting', current_setting('track_counts')::bool,
'autovacuum', current_setting('autovacuum')::bool,
'is_standby', pg_is_in_recovery(),
-- before Postgres 15 this is also the time of the first count
'reset_ago', (SELECT extract(epoch FROM clock_timestamp() - d.stats_reset)::int8 FROM pg_stat_database d
              WHERE d.datname = current_database() AND current_setting('server_version_num')::int >= 150000),
'tables', (SELECT coalesce(json_agg(json_build_object(
    'relation', format('%I.%I', n.nspname, c.relname),
    'name', c.relname,
    'rows', c.reltuples::int8,
    'live', coalesce(s.n_live_tup, 0),
    'dead', coalesce(s.n_dead_tup, 0),
    'autovacuum', coalesce((SELECT o.option_value::bool FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'autovacuum_enabled'), true),
    -- as many dead rows as the autovacuum waits for
    'allowed', (coalesce((SELECT o.option_value FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'autovacuum_vacuum_threshold'),
                         current_setting('autovacuum_vacuum_threshold'))::float8
                + coalesce((SELECT o.option_value FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'autovacuum_vacuum_scale_factor'),
                           current_setting('autovacuum_vacuum_scale_factor'))::float8 * greatest(c.reltuples::float8, 0))::int8,
    'counted', s.last_analyze IS NOT NULL OR s.last_autoanalyze IS NOT NULL,
    -- the server hides the statistics of a column from a role to whom policies apply
    'analysed', EXISTS (SELECT FROM pg_stats p WHERE p.schemaname = n.nspname AND p.tablename = c.relname),
    'hidden', row_security_active(c.oid),
    'index_hits', i.hits,
    'index_reads', i.reads) ORDER BY n.nspname, c.relname), '[]')
  FROM leaves l JOIN pg_class c ON c.oid = l.oid JOIN pg_namespace n ON n.oid = c.relnamespace
  LEFT JOIN LATERAL (SELECT s.* FROM pg_stat_all_tables s WHERE s.relid = c.oid) AS s ON true
  CROSS JOIN LATERAL (SELECT coalesce(sum(i.idx_blks_hit), 0)::int8 AS hits, coalesce(sum(i.idx_blks_read), 0)::int8 AS reads
                      FROM pg_statio_all_indexes i WHERE i.relid = c.oid) AS i),
'indexes', (SELECT coalesce(json_agg(json_build_object('name', s.indexrelname, 'scans', s.idx_scan)), '[]')
            FROM whole w JOIN pg_stat_all_indexes s ON s.relid = w.oid)
)::text
