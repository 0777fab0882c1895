-- Everything that the catalogue says about one table, as one JSON object.
-- $1 its schema, $2 its name. Runs with an empty search_path.
SELECT json_build_object(
  'server', json_build_object(
    'version', current_setting('server_version_num')::int,
    'role', current_user,
    'superuser', (SELECT rolsuper FROM pg_roles WHERE rolname = current_user),
    'auth_uid', EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                        WHERE n.nspname = 'auth' AND p.proname = 'uid' AND p.pronargs = 0),
    'roles', (SELECT coalesce(json_agg(json_build_object('name', rolname, 'bypasses', rolbypassrls OR rolsuper) ORDER BY rolname), '[]')
              FROM pg_roles WHERE rolname IN ('anon', 'authenticated', 'service_role')),
    'role_names', (SELECT json_agg(rolname ORDER BY rolname) FROM pg_roles)),
  'table', json_build_object(
    'oid', c.oid::int8,
    'kind', c.relkind,
    'owner', pg_get_userbyid(c.relowner),
    'owned', pg_has_role(c.relowner, 'USAGE'),
    'can_create', has_schema_privilege(n.oid, 'CREATE'),
    'row_security', c.relrowsecurity,
    'forced', c.relforcerowsecurity,
    'row_security_active', row_security_active(c.oid),
    'hides_rows', {hides_rows},
    'holds_back', {holds_back},
    'rows', c.reltuples::int8,
    'bytes', (SELECT coalesce(sum(pg_relation_size(p.relid)), 0)::int8 FROM pg_partition_tree(c.oid) p WHERE p.isleaf)
             + CASE c.relkind WHEN 'r' THEN pg_relation_size(c.oid) ELSE 0 END,
    'partition_key', (SELECT coalesce(json_agg(a.attname), '[]')
                      FROM pg_partitioned_table p
                      CROSS JOIN unnest(p.partattrs::int2[]) AS k
                      LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k
                      WHERE p.partrelid = c.oid),
    -- tables whose foreign keys delete or change their rows when a row of ours goes
    'cascades', (SELECT coalesce(json_agg(DISTINCT k.conrelid::regclass::text), '[]') FROM pg_constraint k
                 WHERE k.confrelid = c.oid AND k.contype = 'f' AND k.confdeltype IN ('c', 'n', 'd'))),
  'columns', (SELECT coalesce(json_agg(json_build_object(
      'name', a.attname,
      'type', format_type(a.atttypid, a.atttypmod),
      'not_null', a.attnotnull,
      'collation', CASE WHEN a.attcollation <> t.typcollation THEN a.attcollation::regcollation::text END,
      'default', CASE WHEN a.attgenerated = '' THEN pg_get_expr(d.adbin, d.adrelid) END,
      'generated', a.attgenerated <> '',
      'identity', a.attidentity <> '',
      'writable', a.attgenerated = '' AND has_column_privilege(c.oid, a.attnum, 'UPDATE')) ORDER BY a.attnum), '[]')
    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
  'constraints', (SELECT coalesce(json_agg(json_build_object(
      'name', k.conname,
      'kind', k.contype,
      'definition', pg_get_constraintdef(k.oid),
      'validated', k.convalidated,
      'columns', (SELECT coalesce(json_agg(a.attname), '[]') FROM pg_attribute a
                  WHERE a.attrelid = c.oid AND a.attnum = ANY(k.conkey))) ORDER BY k.conname), '[]')
    FROM pg_constraint k WHERE k.conrelid = c.oid),
  'indexes', (SELECT coalesce(json_agg(json_build_object(
      'name', x.relname,
      'definition', pg_get_indexdef(i.indexrelid),
      'method', m.amname,
      'unique', i.indisunique,
      'primary', i.indisprimary,
      'immediate', i.indimmediate,
      'valid', i.indisvalid AND i.indisready,
      'nulls_not_distinct', coalesce((to_jsonb(i) ->> 'indnullsnotdistinct')::bool, false),
      'predicate', pg_get_expr(i.indpred, i.indrelid),
      'has_expressions', i.indexprs IS NOT NULL,
      'constraint', (SELECT k.conname FROM pg_constraint k WHERE k.conindid = i.indexrelid AND k.conrelid = c.oid LIMIT 1),
      'scans', coalesce(s.idx_scan, 0),
      'columns', (SELECT coalesce(json_agg(a.attname ORDER BY k.at), '[]')
                  FROM unnest((i.indkey::int2[])[0:i.indnkeyatts - 1]) WITH ORDINALITY AS k (number, at)
                  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number),
      'included', (SELECT coalesce(json_agg(a.attname ORDER BY k.at), '[]')
                  FROM unnest((i.indkey::int2[])[i.indnkeyatts:]) WITH ORDINALITY AS k (number, at)
                  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.number)
      ) ORDER BY x.relname), '[]')
    FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
    LEFT JOIN pg_stat_all_indexes s ON s.indexrelid = i.indexrelid
    WHERE i.indrelid = c.oid),
  'triggers', (SELECT coalesce(json_agg(json_build_object(
      'name', t.tgname,
      'definition', pg_get_triggerdef(t.oid),
      'enabled', t.tgenabled <> 'D',
      'source', f.prosrc) ORDER BY t.tgname), '[]')
    FROM pg_trigger t JOIN pg_proc f ON f.oid = t.tgfoid
    WHERE t.tgrelid = c.oid AND NOT t.tgisinternal),
  'policies', (SELECT coalesce(json_agg(json_build_object(
      'name', p.polname,
      'command', p.polcmd,
      'permissive', p.polpermissive,
      'roles', (SELECT json_agg(CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END) FROM unnest(p.polroles) AS r),
      'using', pg_get_expr(p.polqual, p.polrelid),
      'check', pg_get_expr(p.polwithcheck, p.polrelid)) ORDER BY p.polname), '[]')
    FROM pg_policy p WHERE p.polrelid = c.oid),
  -- of the schema of the table: those that are ours, and those that the wanted schema names
  'functions', (SELECT coalesce(json_agg(json_build_object(
      'name', f.proname,
      'arguments', pg_get_function_identity_arguments(f.oid),
      'source', f.prosrc,
      'security_definer', f.prosecdef,
      'trusted', pg_has_role(f.proowner, c.relowner, 'USAGE'),
      'settings', coalesce(to_json(f.proconfig), '[]'),
      'definition', pg_get_functiondef(f.oid),
      'grantees', (SELECT coalesce(json_agg(CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END), '[]')
                   FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS g
                   WHERE g.privilege_type = 'EXECUTE' AND g.grantee <> f.proowner)
      ) ORDER BY f.proname), '[]')
    FROM pg_proc f
    WHERE f.pronamespace = c.relnamespace AND f.prokind = 'f'
      AND (f.proname LIKE 'retell\_vault\_%'
           OR f.proname IN ('store_retell_config', 'get_complete_user_profile', 'update_retell_integration_status'))),
  -- other relations of the schema whose names are ours
  'ours', (SELECT coalesce(json_agg(o.relname ORDER BY o.relname), '[]') FROM pg_class o
           WHERE o.relnamespace = c.relnamespace AND o.relname LIKE 'retell\_vault\_%')
)::text
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1 AND c.relname = $2
