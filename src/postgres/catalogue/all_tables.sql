-- Some tables with their columns, keys and foreign keys, one row of JSON for each.
-- $1 their oids. Runs with a safe search path.
SELECT c.oid::int8, json_build_object(
'schema', n.nspname,
'name', c.relname,
'owner', c.relowner::int8,
'rows', greatest(c.reltuples, 0)::int8,
'readable', has_table_privilege(c.oid, 'SELECT') OR has_any_column_privilege(c.oid, 'SELECT'),
'hides_rows', {hides_rows},
'columns', (SELECT coalesce(json_agg(json_build_object(
    'name', a.attname,
    'kind', CASE
      WHEN b.typtype = 'e' THEN 'enum'
      WHEN b.typnamespace <> 'pg_catalog'::regnamespace THEN 'other'
      WHEN b.typname IN ('text', 'varchar', 'bpchar') THEN 'text'
      WHEN b.typname IN ('json', 'jsonb', 'uuid', 'bytea', 'bool') THEN b.typname
      WHEN b.typname IN ('int2', 'int4', 'int8') THEN 'integer'
      WHEN b.typname IN ('timestamp', 'timestamptz', 'date') THEN 'time'
      WHEN b.typname IN ('_text', '_varchar') THEN 'texts'
      ELSE 'other' END,
    'is_for_ids', b.typtype = 'e' OR (b.typnamespace = 'pg_catalog'::regnamespace
      AND b.typname IN ('text', 'varchar', 'uuid', 'int2', 'int4', 'int8') AND coalesce(l.collisdeterministic, true)),
    'longest', CASE WHEN b.typname IN ('varchar', 'bpchar') AND b.modifier > 4 THEN b.modifier - 4 END,
    'labels', coalesce((SELECT json_agg(e.enumlabel ORDER BY e.enumsortorder) FROM pg_enum e WHERE e.enumtypid = b.oid), '[]'),
    'takes_tokens', a.atttypid = b.oid AND b.typname IN ('text', 'varchar', 'jsonb') AND a.attgenerated = ''
      AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND a.attnum = ANY (k.conkey)
        AND k.conname NOT LIKE 'retell\_vault\_%')
      AND NOT EXISTS (SELECT FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND (a.attnum = ANY (i.indkey::int2[])
        OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
          AND d.refobjid = c.oid AND d.refobjsubid = a.attnum))),
    'not_null', a.attnotnull,
    'readable', has_column_privilege(c.oid, a.attnum, 'SELECT'),
    'comment', col_description(c.oid, a.attnum)
    ) ORDER BY a.attnum), '[]')
  FROM pg_attribute a
  LEFT JOIN pg_collation l ON l.oid = a.attcollation
  -- the type below all domains
  CROSS JOIN LATERAL (
    WITH RECURSIVE below AS (
      SELECT t.oid, t.typtype, t.typbasetype, t.typname::text, t.typnamespace, a.atttypmod AS modifier, t.typtypmod FROM pg_type t WHERE t.oid = a.atttypid
      UNION ALL
      SELECT t.oid, t.typtype, t.typbasetype, t.typname::text, t.typnamespace, below.typtypmod, t.typtypmod
      FROM below JOIN pg_type t ON t.oid = below.typbasetype WHERE below.typtype = 'd')
    SELECT * FROM below WHERE typtype <> 'd') b
  WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
'keys', (SELECT coalesce(json_agg(json_build_object(
    'columns', (SELECT coalesce(json_agg(a.attname ORDER BY k.at), '[]')
                FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, at)
                JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number),
    'primary', i.indisprimary,
    'partial', i.indpred IS NOT NULL
    ) ORDER BY i.indisprimary DESC, i.indexrelid), '[]')
  FROM pg_index i WHERE i.indrelid = c.oid AND i.indisunique AND i.indisvalid AND i.indexprs IS NULL),
'foreign', (SELECT coalesce(json_agg(json_build_object(
    'column', a.attname, 'table', r.relname) ORDER BY a.attnum), '[]')
  FROM pg_constraint k JOIN pg_class r ON r.oid = k.confrelid
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
  WHERE k.conrelid = c.oid AND k.contype = 'f' AND array_length(k.conkey, 1) = 1),
-- tables that refer to this one and to another one: they may tell the owner of a row
'links', (SELECT coalesce(json_agg(DISTINCT r.relname), '[]')
  FROM pg_constraint k JOIN pg_class r ON r.oid = k.conrelid
  WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.conrelid <> c.oid
  AND EXISTS (SELECT FROM pg_constraint o WHERE o.conrelid = k.conrelid AND o.contype = 'f' AND o.confrelid <> c.oid)),
-- CHECK constraints on one column, which may list its values
'checks', (SELECT coalesce(json_agg(json_build_object(
    'column', a.attname, 'definition', left(pg_get_constraintdef(k.oid), 2000)) ORDER BY k.oid), '[]')
  FROM pg_constraint k JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
  WHERE k.conrelid = c.oid AND k.contype = 'c' AND array_length(k.conkey, 1) = 1)
)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.oid = ANY ($1::int8[]::oid[])
