WITH here AS (
  SELECT n.oid, n.nspowner, n.nspacl, t.relowner,
    -- what runs for an operator acts as the owner of the table if it may
    CASE WHEN pg_has_role(t.relowner, 'USAGE') THEN pg_get_userbyid(t.relowner) ELSE current_user END AS actor
  FROM pg_class t LEFT JOIN pg_namespace n ON n.nspname = $3 WHERE t.oid = to_regclass($1)),
wanted (relname, attname, kind) AS (VALUES
  ('keyring', 'generation', 'bigint'), ('keyring', 'predecessor', 'text'), ('keyring', 'sealed', 'text'), ('keyring', 'voucher', 'text'), ('keyring', 'at', 'timestamp with time zone'),
  ('hosts', 'host', 'text'), ('hosts', 'generation', 'bigint'), ('hosts', 'at', 'timestamp with time zone'),
  ('local_files', 'id', 'text'), ('local_files', 'pushes', 'bigint'), ('local_files', 'mark', 'text'), ('local_files', 'at', 'timestamp with time zone'),
  ('ledger', 'writer', 'uuid'), ('ledger', 'seq', 'bigint'), ('ledger', 'epoch', 'integer'), ('ledger', 'settled', 'bigint'), ('ledger', 'head', 'bytea'),
  ('ledger', 'at_ms', 'bigint'), ('ledger', 'op', 'text'), ('ledger', 'place', 'text'), ('ledger', 'usr', 'text'), ('ledger', 'tenant', 'text'),
  ('ledger', 'before', 'text'), ('ledger', 'after', 'text'), ('ledger', 'digest', 'bytea'), ('ledger', 'outcome', 'text'), ('ledger', 'actor', 'text'),
  ('ledger', 'reason', 'text'), ('ledger', 'request', 'text'), ('ledger', 'host', 'text'), ('ledger', 'release', 'text'), ('ledger', 'detail', 'text'),
  ('ledger', 'mac', 'bytea'), ('ledger', 'received', 'timestamp with time zone'),
  ('removed', 'place', 'text'), ('removed', 'usr', 'text'), ('removed', 'tenant', 'text'), ('removed', 'role', 'text'), ('removed', 'at', 'timestamp with time zone')),
allowed (relname, privilege) AS (VALUES
  ('', 'USAGE'), ('keyring', 'SELECT'), ('keyring', 'INSERT'), ('keyring', 'DELETE'),
  ('hosts', 'SELECT'), ('hosts', 'INSERT'), ('hosts', 'UPDATE'), ('hosts', 'DELETE'),
  ('local_files', 'SELECT'), ('local_files', 'INSERT'), ('local_files', 'UPDATE'),
  ('ledger', 'INSERT'), ('ledger', 'SELECT'), ('ledger', 'DELETE'), ('removed', 'SELECT'), ('removed', 'DELETE'),
  ('newest(text,text,text)', 'EXECUTE')),
needed (relname, privilege) AS (
  SELECT * FROM allowed WHERE (relname, privilege) NOT IN (('keyring', 'INSERT'), ('keyring', 'DELETE'), ('ledger', 'SELECT'), ('ledger', 'DELETE'), ('removed', 'SELECT'), ('removed', 'DELETE'))),
our_functions (name, source) AS (VALUES ('note_removed()', $4), ('newest(text,text,text)', $5)),
functions AS (
  SELECT p.*, f.name, f.source FROM pg_proc p JOIN here ON p.pronamespace = here.oid LEFT JOIN our_functions f ON p.oid::regprocedure::text = 'retell_vault.' || f.name),
ours AS (
  SELECT c.* FROM pg_class c JOIN here ON c.relnamespace = here.oid
  WHERE c.relkind = 'r' AND c.relname IN (SELECT relname FROM wanted)),
acls (relname, owner, acl) AS (
  SELECT '', nspowner, coalesce(nspacl, acldefault('n', nspowner)) FROM here WHERE oid IS NOT NULL
  UNION ALL SELECT relname::text, relowner, coalesce(relacl, acldefault('r', relowner)) FROM ours
  UNION ALL SELECT name, proowner, coalesce(proacl, acldefault('f', proowner)) FROM functions WHERE name IS NOT NULL
  UNION ALL SELECT o.relname::text, o.relowner, a.attacl FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid WHERE a.attacl IS NOT NULL),
granted AS (
  SELECT acls.relname, a.grantee, a.grantor, a.privilege_type FROM acls, aclexplode(acls.acl) AS a WHERE a.grantee <> acls.owner),
clients AS (
  SELECT oid, rolname FROM pg_roles WHERE rolname IN ('anon', 'authenticated')),
open AS (
  SELECT relname, CASE grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(grantee) END AS holder,
    CASE grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(grantee) END AS grantee, grantor, privilege_type FROM granted
  WHERE grantee = 0 OR grantee IN (SELECT oid FROM clients)
    OR (relname, privilege_type) NOT IN (SELECT relname, privilege FROM allowed)
  UNION ALL
  SELECT g.relname, c.rolname, pg_get_userbyid(g.grantee), g.grantor, g.privilege_type FROM granted g, clients c
  WHERE g.grantee <> 0 AND g.grantee <> c.oid AND pg_has_role(c.oid, g.grantee, 'USAGE')),
planted (rank, what, drop) AS (
  SELECT 1, format('trigger %s of %s', tgname, o.relname), format('DROP TRIGGER %I ON retell_vault.%I', tgname, o.relname)
  FROM pg_trigger JOIN ours o ON o.oid = tgrelid WHERE NOT tgisinternal
  UNION ALL SELECT 1, format('rule %s of %s', rulename, o.relname), format('DROP RULE %I ON retell_vault.%I', rulename, o.relname)
  FROM pg_rewrite JOIN ours o ON o.oid = ev_class
  UNION ALL SELECT 1, format('policy %s of %s', polname, o.relname), format('DROP POLICY %I ON retell_vault.%I', polname, o.relname)
  FROM pg_policy JOIN ours o ON o.oid = polrelid
  UNION ALL SELECT 2, format('row level security of %s', relname),
    format('ALTER TABLE retell_vault.%I DISABLE ROW LEVEL SECURITY, NO FORCE ROW LEVEL SECURITY', relname)
  FROM ours WHERE relrowsecurity OR relforcerowsecurity
  UNION ALL SELECT 3, format('constraint %s of %s', conname, conrelid::regclass), format('ALTER TABLE %s DROP CONSTRAINT %I', conrelid::regclass, conname)
  FROM pg_constraint WHERE contype <> 'n' AND conparentid = 0 AND (confrelid IN (SELECT oid FROM ours) OR conrelid IN (SELECT oid FROM ours)
    AND conname NOT IN ('keyring_pkey', 'keyring_predecessor_key', 'keyring_generation_check', 'keyring_sealed_check',
      'hosts_pkey', 'hosts_host_check', 'local_files_pkey', 'local_files_id_check', 'local_files_mark_check',
      'retell_vault_ledger_number', 'ledger_seq_check', 'ledger_head_check', 'ledger_op_check', 'ledger_place_check', 'ledger_usr_check', 'ledger_tenant_check', 'ledger_before_check', 'ledger_after_check', 'ledger_digest_check', 'ledger_outcome_check', 'ledger_actor_check', 'ledger_reason_check', 'ledger_request_check', 'ledger_host_check', 'ledger_release_check', 'ledger_detail_check', 'ledger_mac_check'))
  UNION ALL SELECT 3, format('index %s', x.relname), format('DROP INDEX retell_vault.%I', x.relname)
  FROM pg_index i JOIN ours o ON o.oid = i.indrelid JOIN pg_class x ON x.oid = i.indexrelid
  WHERE x.relname NOT IN ('retell_vault_ledger_states', 'retell_vault_ledger_others', 'retell_vault_ledger_received', 'retell_vault_removed_owners')
    AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid AND conrelid = i.indrelid)
  UNION ALL SELECT 4, format('default of %s.%s', o.relname, a.attname), CASE WHEN a.attgenerated <> '' THEN NULL
    WHEN a.attname IN ('at', 'received') THEN format('ALTER TABLE retell_vault.%I ALTER COLUMN %I SET DEFAULT pg_catalog.clock_timestamp()', o.relname, a.attname)
    ELSE format('ALTER TABLE retell_vault.%I ALTER COLUMN %I DROP DEFAULT', o.relname, a.attname) END
  FROM ours o JOIN wanted w ON w.relname = o.relname JOIN pg_attribute a ON a.attrelid = o.oid AND a.attname = w.attname
    LEFT JOIN pg_attrdef d ON d.adrelid = o.oid AND d.adnum = a.attnum
  WHERE CASE WHEN a.attname IN ('at', 'received') THEN pg_get_expr(d.adbin, d.adrelid) IS DISTINCT FROM 'clock_timestamp()' ELSE d.oid IS NOT NULL END
  UNION ALL SELECT 5, format('column %s of %s', a.attname, o.relname), NULL
  FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
  WHERE (o.relname::text, a.attname::text) NOT IN (SELECT relname, attname FROM wanted)
  UNION ALL SELECT 5, format('%s, which inherits from %s', inhrelid::regclass, inhparent::regclass), NULL
  FROM pg_inherits WHERE inhparent IN (SELECT oid FROM ours) OR inhrelid IN (SELECT oid FROM ours)
  UNION ALL SELECT 6, format('%s %s', k.word, c.relname), CASE WHEN k.drops THEN format('DROP %s retell_vault.%I', upper(k.word), c.relname) END
  FROM pg_class c JOIN here ON c.relnamespace = here.oid
    JOIN (VALUES ('v', 'view', true), ('m', 'materialized view', true), ('S', 'sequence', true), ('c', 'type', true),
      ('r', 'table', false), ('p', 'partitioned table', false), ('f', 'foreign table', false)) AS k (kind, word, drops) ON k.kind = c.relkind::text
  WHERE c.oid NOT IN (SELECT oid FROM ours)
  -- that of our triggers goes with them, and the plan makes both again
  UNION ALL SELECT 7, format('function %s', p.oid::regprocedure),
    format('DROP ROUTINE %s', p.oid::regprocedure) || CASE WHEN p.name = 'note_removed()' THEN ' CASCADE' ELSE '' END
  FROM functions p CROSS JOIN here
  WHERE (p.prosrc = p.source AND p.prosecdef AND p.proconfig = ARRAY['search_path=""'] AND p.proowner = here.nspowner) IS NOT TRUE),
actable AS (
  SELECT coalesce(pg_has_role(actor, nspowner, 'USAGE') AND NOT EXISTS (SELECT FROM ours WHERE NOT pg_has_role(actor, ours.relowner, 'USAGE')), false) AS owned FROM here)
SELECT json_build_object(
  'owner', pg_get_userbyid(here.nspowner),
  'owned', actable.owned,
  'creatable', has_database_privilege(here.actor, current_database(), 'CREATE'),
  'actor', here.actor,
  'others', (SELECT coalesce(json_agg(DISTINCT pg_get_userbyid(o.owner)), '[]')
    FROM (SELECT here.nspowner UNION ALL SELECT relowner FROM ours) AS o (owner)
    WHERE NOT ({acts_for} OR pg_get_userbyid(o.owner) = current_user)),
  'rewrites_ledger', EXISTS (SELECT FROM pg_roles r JOIN ours o ON o.relname = 'ledger' WHERE r.rolname = current_user
    AND (r.rolsuper OR pg_has_role(o.relowner, 'MEMBER') OR pg_has_role(here.nspowner, 'MEMBER')
      OR has_table_privilege(o.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER'))),
  'missing', (SELECT coalesce(json_agg(DISTINCT relname), '[]') FROM (
    SELECT relname FROM wanted WHERE relname NOT IN (SELECT relname::text FROM ours)
    UNION ALL SELECT name FROM our_functions WHERE name NOT IN (SELECT name FROM functions WHERE name IS NOT NULL)) AS m),
  'unlike', (SELECT coalesce(json_agg(format('%s.%s', w.relname, w.attname)), '[]') FROM wanted w JOIN ours o ON o.relname = w.relname
    WHERE NOT EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = o.oid AND a.attname = w.attname AND NOT a.attisdropped
      AND format_type(a.atttypid, a.atttypmod) = w.kind AND a.attgenerated = '')),
  'unlogged', (SELECT coalesce(json_agg(json_build_object('name', relname, 'owner', pg_get_userbyid(relowner)) ORDER BY relname), '[]')
    FROM ours WHERE relpersistence <> 'p'),
  'open', (SELECT coalesce(json_agg(o ORDER BY o.relname, o.holder, o.grantee, o.grantor), '[]') FROM (
    SELECT relname, holder, grantee, pg_get_userbyid(grantor) AS grantor, array_agg(DISTINCT privilege_type ORDER BY privilege_type) AS privileges
    FROM open GROUP BY relname, holder, grantee, open.grantor) AS o),
  'planted', (SELECT coalesce(json_agg(json_build_object('what', what, 'drop', drop) ORDER BY rank, what), '[]') FROM planted),
  'lacking', (SELECT coalesce(json_agg(json_build_object('object', n.relname, 'privilege', n.privilege) ORDER BY n.relname, n.privilege), '[]')
    FROM needed n LEFT JOIN ours o ON o.relname = n.relname LEFT JOIN functions f ON f.name = n.relname
    WHERE CASE WHEN n.relname = '' THEN NOT has_schema_privilege(here.oid, n.privilege) WHEN n.relname = 'ledger' THEN NOT has_any_column_privilege(o.oid, n.privilege)
      WHEN n.privilege = 'EXECUTE' THEN NOT has_function_privilege(f.oid, n.privilege) ELSE NOT has_table_privilege(o.oid, n.privilege) END),
  'ungranted', (SELECT coalesce(json_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r
    WHERE r.rolname = ANY($2) AND EXISTS (SELECT FROM needed n LEFT JOIN ours o ON o.relname = n.relname LEFT JOIN functions f ON f.name = n.relname
      WHERE CASE WHEN n.relname = '' THEN here.oid IS NULL OR NOT has_schema_privilege(r.oid, here.oid, n.privilege)
        WHEN n.relname = 'ledger' THEN o.oid IS NULL OR NOT has_any_column_privilege(r.oid, o.oid, n.privilege)
        WHEN n.privilege = 'EXECUTE' THEN f.oid IS NULL OR NOT has_function_privilege(r.oid, f.oid, n.privilege)
        ELSE o.oid IS NULL OR NOT has_table_privilege(r.oid, o.oid, n.privilege) END)))::text
FROM here, actable
