-- Who may reach the table, and by which ways, as one JSON object.
-- $1 its schema, $2 its name, $3 the columns that the vault uses. Runs with an empty search_path.
WITH RECURSIVE t AS (
  SELECT c.oid, c.relname, c.relowner, c.relacl, c.relnamespace
  FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = $1 AND c.relname = $2),
supabase AS (
  SELECT EXISTS (SELECT FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                 WHERE n.nspname = 'auth' AND p.proname = 'uid' AND p.pronargs = 0) AS here),
-- roles that are meant to see every row, or to whom policies do not apply
services AS (
  SELECT r.oid FROM pg_roles r CROSS JOIN t
  WHERE r.rolname NOT IN ('anon', 'authenticated')
    AND (r.rolsuper OR r.rolbypassrls OR r.rolname = 'service_role' OR r.rolname = current_user
         OR pg_has_role(r.oid, t.relowner, 'USAGE')
         OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND p.polname = 'retell_vault_service'
                    AND r.oid = ANY(p.polroles)))),
rights AS (
  SELECT g.grantee, g.grantor, g.privilege_type AS privilege, NULL::text AS attribute
  FROM t CROSS JOIN aclexplode(coalesce(t.relacl, acldefault('r', t.relowner))) AS g
  UNION ALL
  SELECT g.grantee, g.grantor, g.privilege_type, a.attname::text
  FROM t JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attname = ANY($3)
  CROSS JOIN aclexplode(a.attacl) AS g),
-- everybody (0), and the role of who is not signed in
outsiders AS (
  SELECT 0::oid AS holder, 'public'::text AS name
  UNION ALL SELECT oid, rolname::text FROM pg_roles WHERE rolname = 'anon'),
granted AS (
  SELECT o.name AS holder, g.grantee, g.grantor, g.attribute IS NOT NULL AS partial,
    array_agg(DISTINCT g.privilege ORDER BY g.privilege) AS privileges,
    coalesce(array_agg(DISTINCT g.attribute ORDER BY g.attribute) FILTER (WHERE g.attribute IS NOT NULL), '{}') AS attributes
  FROM outsiders o JOIN rights g
    ON CASE WHEN o.holder = 0 OR g.grantee = 0 THEN o.holder = g.grantee ELSE pg_has_role(o.holder, g.grantee, 'USAGE') END
  WHERE g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')
  GROUP BY o.name, g.grantee, g.grantor, g.attribute IS NOT NULL),
-- views of the table, and views of those
views AS (
  SELECT r.ev_class AS oid, bool_or(d.refobjsubid = 0 OR a.attname = ANY($3)) AS uses
  FROM t JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> t.oid
  LEFT JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = d.refobjsubid
  GROUP BY r.ev_class
  UNION
  SELECT r.ev_class, v.uses
  FROM views v JOIN pg_depend d ON d.refclassid = 'pg_class'::regclass AND d.refobjid = v.oid AND d.classid = 'pg_rewrite'::regclass
  JOIN pg_rewrite r ON r.oid = d.objid AND r.ev_class <> v.oid),
partitions AS (
  SELECT i.inhrelid AS oid FROM pg_inherits i JOIN t ON i.inhparent = t.oid
  UNION
  SELECT i.inhrelid FROM pg_inherits i JOIN partitions p ON i.inhparent = p.oid)
SELECT json_build_object(
  'bypassing_me', (SELECT rolsuper OR rolbypassrls FROM pg_roles WHERE rolname = current_user),
  'granted', (SELECT coalesce(json_agg(json_build_object(
      'holder', g.holder,
      'grantee', CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END,
      'grantor', CASE WHEN g.grantor <> t.relowner THEN pg_get_userbyid(g.grantor) END,
      'privileges', g.privileges,
      'columns', g.attributes) ORDER BY g.holder, g.grantee, g.grantor, g.partial), '[]')
    FROM granted g CROSS JOIN t),
  'users_reach', EXISTS (SELECT FROM rights g LEFT JOIN pg_roles r ON r.rolname IN ('anon', 'authenticated') AND pg_has_role(r.oid, g.grantee, 'USAGE')
      WHERE (g.grantee = 0 OR r.oid IS NOT NULL) AND g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE')),
  'bypassing', (SELECT coalesce(json_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r CROSS JOIN t CROSS JOIN supabase
      WHERE r.rolbypassrls AND NOT r.rolsuper AND r.oid <> t.relowner AND r.rolname NOT IN (current_user, 'service_role')
        AND NOT (supabase.here AND (r.rolname = 'postgres' OR r.rolname LIKE 'supabase\_%'))
        AND (has_any_column_privilege(r.oid, t.oid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(r.oid, t.oid, 'DELETE'))),
  'policies', (SELECT coalesce(json_agg(json_build_object(
      'name', p.polname,
      'command', p.polcmd,
      'permissive', p.polpermissive,
      'using', pg_get_expr(p.polqual, p.polrelid),
      'check', pg_get_expr(p.polwithcheck, p.polrelid),
      'names_columns', EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_policy'::regclass AND d.objid = p.oid
                               AND d.refclassid = 'pg_class'::regclass AND d.refobjid = p.polrelid AND d.refobjsubid > 0),
      'roles', (SELECT json_agg(json_build_object(
          'name', CASE r WHEN 0 THEN 'public' ELSE pg_get_userbyid(r) END,
          'service', r IN (SELECT oid FROM services),
          'reaches', CASE r
            WHEN 0 THEN EXISTS (SELECT FROM rights g WHERE g.grantee NOT IN (SELECT oid FROM services)
                                AND g.privilege IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
            ELSE has_any_column_privilege(r, p.polrelid, 'SELECT, INSERT, UPDATE') OR has_table_privilege(r, p.polrelid, 'DELETE') END))
        FROM unnest(p.polroles) AS r)) ORDER BY p.polname), '[]')
    FROM pg_policy p JOIN t ON p.polrelid = t.oid),
  -- whom we can act as, of those that policies are for
  'actors', (SELECT coalesce(json_agg(r.rolname ORDER BY r.rolname), '[]') FROM pg_roles r CROSS JOIN t
      WHERE pg_has_role(current_user, r.oid, 'MEMBER') AND NOT r.rolsuper AND NOT r.rolbypassrls
        AND (r.rolname IN ('anon', 'authenticated')
             OR EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = t.oid AND r.oid = ANY(p.polroles))
             OR EXISTS (SELECT FROM rights g WHERE g.grantee = r.oid))),
  'routines', (SELECT coalesce(json_agg(json_build_object(
      'signature', f.oid::regprocedure::text,
      'fixed_path', EXISTS (SELECT FROM unnest(f.proconfig) AS s WHERE s LIKE 'search\_path=%'),
      'callers', (SELECT coalesce(json_agg(o.name ORDER BY o.name), '[]') FROM outsiders o
                  WHERE f.prorettype NOT IN ('pg_catalog.trigger'::regtype, 'pg_catalog.event_trigger'::regtype)
                    AND EXISTS (SELECT FROM aclexplode(coalesce(f.proacl, acldefault('f', f.proowner))) AS g
                                WHERE g.privilege_type = 'EXECUTE' AND g.grantee = o.holder))
      ) ORDER BY f.oid::regprocedure::text), '[]')
    FROM pg_proc f JOIN pg_language l ON l.oid = f.prolang CROSS JOIN t
    WHERE f.prosecdef AND l.lanname NOT IN ('internal', 'c')
      AND (f.prosrc ~* ('(^|[^[:alnum:]_$])' || regexp_replace(t.relname, '([^[:alnum:]_])', '\\\1', 'g') || '($|[^[:alnum:]_$])')
           OR EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = f.oid
                      AND d.refclassid = 'pg_class'::regclass AND d.refobjid = t.oid))),
  'views', (SELECT coalesce(json_agg(json_build_object(
      'relation', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
      'materialized', c.relkind = 'm',
      'invoker', coalesce((SELECT o.option_value::bool FROM pg_options_to_table(c.reloptions) AS o WHERE o.option_name = 'security_invoker'), false),
      'uses', v.uses,
      'readers', (SELECT coalesce(json_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END), '[]')
                  FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS g
                  WHERE g.grantee <> c.relowner AND g.grantee NOT IN (SELECT oid FROM services)
                    AND g.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
      ) ORDER BY n.nspname, c.relname), '[]')
    FROM (SELECT oid, bool_or(uses) AS uses FROM views GROUP BY oid) v
    JOIN pg_class c ON c.oid = v.oid JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('v', 'm')),
  -- tables of ours beside it, and its partitions, which the policies of the whole do not hold for
  'beside', (SELECT coalesce(json_agg(json_build_object(
      'relation', quote_ident(n.nspname) || '.' || quote_ident(c.relname),
      'partition', p.oid IS NOT NULL,
      'row_security', c.relrowsecurity,
      'readers', (SELECT coalesce(json_agg(DISTINCT CASE g.grantee WHEN 0 THEN 'public' ELSE pg_get_userbyid(g.grantee) END), '[]')
                  FROM aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS g
                  WHERE (g.grantee = 0 OR pg_get_userbyid(g.grantee) IN ('anon', 'authenticated'))
                    AND g.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE'))
      ) ORDER BY n.nspname, c.relname), '[]')
    FROM t JOIN pg_class c ON c.oid <> t.oid AND c.relkind IN ('r', 'p', 'f') JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN partitions p ON p.oid = c.oid
    WHERE p.oid IS NOT NULL OR (c.relnamespace = t.relnamespace AND c.relname LIKE 'retell\_vault\_%')),
  'auth_uid_type', (SELECT format_type(p.prorettype, NULL) FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
                    WHERE n.nspname = 'auth' AND p.proname = 'uid' AND p.pronargs = 0)
)::text FROM t
