-- Plants in `public` what SQL that names things without their schema would call: operators, functions, aggregates, types and
-- relations of the names that pg_catalog has. Each of them counts its calls, and answers as the built-in one does where it can.
--
-- Runs in one session, with a temporary table `words` of the words that our SQL is made of. The server itself counts (`track_functions`):
-- its counters are neither rolled back nor kept off by a read-only transaction. A function with a setting of its own is counted wherever
-- it is called from, also in `= ANY` and NULLIF, and is not inlined; the comment in its body says that it is planted.
SET search_path = '';
SET check_function_bodies = off;
CREATE SCHEMA plants;
GRANT USAGE ON SCHEMA plants TO PUBLIC;

-- A function that counts its calls. `answer` is a statement.
CREATE PROCEDURE plants.counter(name text, arguments text, result text, answer text) LANGUAGE plpgsql AS $$ BEGIN
  EXECUTE pg_catalog.format('CREATE FUNCTION %s(%s) RETURNS %s LANGUAGE plpgsql IMMUTABLE SET search_path = %L AS %L', name, arguments, result, '',
    -- the counters are to be read as soon as the transaction has ended
    '/* planted */ BEGIN PERFORM pg_catalog.pg_stat_force_next_flush(); ' || answer || '; END');
END $$;

-- The name of a counter that stands behind something else.
CREATE FUNCTION plants.behind(what text) RETURNS text LANGUAGE sql AS
  $$ SELECT pg_catalog.format('plants.%I', pg_catalog.left(what, 63)) $$;

-- The types that stand in place of another one in a call.
CREATE FUNCTION plants.like_it(type text) RETURNS text[] LANGUAGE sql AS $$ SELECT CASE
  WHEN type IN ('text', 'character varying', 'character', 'name') THEN ARRAY['text', 'varchar', 'bpchar', 'name', '"char"']
  WHEN type IN ('smallint', 'integer', 'bigint', 'numeric', 'double precision')
    THEN ARRAY['int2', 'int4', 'int8', 'numeric', 'float8']
  WHEN type IN ('json', 'jsonb') THEN ARRAY['json', 'jsonb']
  WHEN type IN ('oid', 'regclass') THEN ARRAY['oid', 'regclass', 'int4', 'text']
  WHEN type = 'text[]' THEN ARRAY['text[]', 'varchar[]', 'name[]']
  WHEN type LIKE 'timestamp%' THEN ARRAY['timestamptz', 'timestamp', 'date']
  WHEN type IN ('"any"', 'anyelement', 'anynonarray', 'anycompatible', 'anycompatiblenonarray') THEN ARRAY['text', 'varchar',
    'bpchar', 'name', '"char"', 'uuid', 'int2', 'int4', 'int8', 'numeric', 'float8', 'bool', 'json', 'jsonb', 'oid', 'timestamptz', 'text[]']
  WHEN type IN ('anyarray', 'anycompatiblearray') THEN ARRAY['text[]', 'varchar[]', 'uuid[]', 'int2[]', 'int4[]', 'int8[]', 'jsonb[]',
    'bool[]', 'oid[]', 'name[]', '"char"[]']
  ELSE ARRAY[type] END $$;

-- Operators: of every name in the words, over all pairs of these types; and exactly those that pg_catalog has.
CREATE PROCEDURE plants.operators(op text) LANGUAGE plpgsql AS $$ DECLARE
  types CONSTANT text[] := ARRAY['text', 'varchar', 'bpchar', 'name', '"char"', 'uuid', 'int2', 'int4', 'int8', 'numeric', 'float8', 'bool',
    'json', 'jsonb', 'oid', 'timestamptz', 'text[]', 'varchar[]', 'uuid[]', 'int4[]', 'jsonb[]'];
  comparing CONSTANT boolean := op ~ '[<>=~@?&]' AND op !~ '^(->|#>)';
  l text; r text; result text; behind text;
BEGIN
  FOR l, r IN SELECT a, b FROM pg_catalog.unnest(types) AS a, pg_catalog.unnest(types) AS b
    UNION SELECT pg_catalog.format_type(o.oprleft, NULL), pg_catalog.format_type(o.oprright, NULL) FROM pg_catalog.pg_operator AS o
    WHERE o.oprname = op AND o.oprnamespace = 'pg_catalog'::regnamespace AND o.oprkind = 'b'
      AND NOT EXISTS (SELECT FROM pg_catalog.pg_type AS t WHERE t.oid IN (o.oprleft, o.oprright) AND t.typtype = 'p')
  LOOP
    BEGIN
      EXECUTE pg_catalog.format('SELECT pg_catalog.pg_typeof(NULL::%s OPERATOR(pg_catalog.%s) NULL::%s)', l, op, r) INTO result;
      behind := pg_catalog.format('RETURN $1 OPERATOR(pg_catalog.%s) $2', op);
    EXCEPTION WHEN undefined_function OR ambiguous_function OR datatype_mismatch OR invalid_parameter_value THEN
      result := CASE WHEN comparing THEN 'bool' WHEN op ~ '>>$' THEN 'text' ELSE l END;
      behind := 'RETURN NULL';
    END;
    BEGIN
      CALL plants.counter(plants.behind(pg_catalog.format('%s %s %s', l, op, r)), pg_catalog.format('%s, %s', l, r), result, behind);
      EXECUTE pg_catalog.format('CREATE OPERATOR public.%s (LEFTARG = %s, RIGHTARG = %s, FUNCTION = %s)', op, l, r,
        plants.behind(pg_catalog.format('%s %s %s', l, op, r)));
    EXCEPTION WHEN duplicate_function THEN -- int4 and integer
    END;
  END LOOP;
END $$;

-- Functions of a name: as they are, and with other types in place of their own.
CREATE PROCEDURE plants.functions(called text) LANGUAGE plpgsql AS $$ DECLARE
  p record; types text[]; first text[]; calls text[]; args text[]; result text; answer text; parts text;
BEGIN
  FOR p IN SELECT f.*, n AS count FROM pg_catalog.pg_proc AS f, pg_catalog.generate_series(f.pronargs - f.pronargdefaults,
      f.pronargs + CASE WHEN f.provariadic <> 0 THEN 2 ELSE 0 END) AS n
    WHERE f.proname = called AND f.pronamespace = 'pg_catalog'::regnamespace AND f.prokind = 'f' LOOP
    SELECT coalesce(pg_catalog.array_agg(CASE WHEN p.provariadic <> 0 AND i >= p.pronargs THEN pg_catalog.format_type(p.provariadic, NULL)
        ELSE pg_catalog.format_type(p.proargtypes[i - 1], NULL) END ORDER BY i), '{}') INTO types
      FROM pg_catalog.generate_series(1, p.count) AS i;
    calls := ARRAY[''];
    FOR at IN 1..p.count LOOP
      first := CASE WHEN p.count <= 3 THEN plants.like_it(types[at]) ELSE (plants.like_it(types[at]))[1:3] END;
      calls := ARRAY(SELECT pg_catalog.concat_ws(',', nullif(c, ''), t) FROM pg_catalog.unnest(calls) AS c,
        pg_catalog.unnest(first) AS t LIMIT 400);
    END LOOP;
    FOR args IN SELECT pg_catalog.string_to_array(c, ',') FROM pg_catalog.unnest(calls) AS c LOOP
      -- an argument of another type is cast as the built-in function wants it
      SELECT pg_catalog.string_agg(CASE WHEN types[i] ~ '^("any"|any.*)$' THEN '$' || i ELSE '$' || i || '::' || types[i] END, ', ' ORDER BY i)
        INTO parts FROM pg_catalog.generate_series(1, p.count) AS i;
      result := pg_catalog.format_type(p.prorettype, NULL);
      IF result IN ('anyelement', 'anycompatible') THEN
        result := CASE WHEN args[1] ~ '\[]$' THEN pg_catalog.rtrim(args[1], '[]') ELSE args[1] END;
      ELSIF result IN ('anyarray', 'anycompatiblearray') THEN
        result := CASE WHEN args[1] ~ '\[]$' THEN args[1] ELSE args[2] END;
      END IF;
      answer := pg_catalog.format('RETURN pg_catalog.%I(%s)', called, parts);
      IF p.proretset THEN
        result := CASE WHEN p.proargmodes IS NULL THEN 'SETOF ' || result ELSE pg_catalog.format('TABLE (%s)', (SELECT
          pg_catalog.string_agg(pg_catalog.format('%I %s', p.proargnames[i], pg_catalog.format_type(p.proallargtypes[i], NULL)), ', ' ORDER BY i)
          FROM pg_catalog.generate_subscripts(p.proargmodes, 1) AS i WHERE p.proargmodes[i] IN ('o', 't'))) END;
        answer := pg_catalog.format('RETURN QUERY SELECT * FROM pg_catalog.%I(%s)', called, parts);
      END IF;
      BEGIN
        CALL plants.counter(pg_catalog.format('public.%I', called), pg_catalog.array_to_string(args, ','), result, answer);
      EXCEPTION WHEN duplicate_function OR invalid_function_definition OR undefined_object OR syntax_error OR feature_not_supported THEN
        -- what plpgsql cannot take or return
      END;
    END LOOP;
  END LOOP;
END $$;

-- An aggregate: what it starts from and how it goes on.
CREATE PROCEDURE plants.aggregate(called text, argument text, state text, start text, step text) LANGUAGE plpgsql AS $$ DECLARE
  name CONSTANT text := plants.behind(pg_catalog.format('%s(%s)', called, argument));
BEGIN
  CALL plants.counter(name, pg_catalog.concat_ws(', ', state, nullif(argument, '*')), state, 'RETURN ' || step);
  EXECUTE pg_catalog.format('CREATE AGGREGATE public.%I(%s) (SFUNC = %s, STYPE = %s%s)', called, argument, name, state,
    ', INITCOND = ' || pg_catalog.quote_literal(start)); -- none where `start` is NULL
END $$;

CREATE PROCEDURE plants.aggregates() LANGUAGE plpgsql AS $$ DECLARE type text; BEGIN
  CALL plants.aggregate('count', '*', 'int8', '0', '$1 OPERATOR(pg_catalog.+) 1');
  CALL plants.aggregate('row_number', '*', 'int8', '0', '$1 OPERATOR(pg_catalog.+) 1');
  FOREACH type IN ARRAY plants.like_it('"any"') LOOP
    CALL plants.aggregate('count', type, 'int8', '0', '$1 OPERATOR(pg_catalog.+) ($2 IS NOT NULL)::int4');
    CALL plants.aggregate('array_agg', type, CASE WHEN type = 'text[]' THEN type ELSE type || '[]' END, NULL,
      CASE WHEN type = 'text[]' THEN '$1 OPERATOR(pg_catalog.||) $2' ELSE 'pg_catalog.array_append($1, $2)' END);
    CALL plants.aggregate('json_agg', type, 'json', NULL,
      '(coalesce($1::jsonb, ''[]'') OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_array($2))::json');
    CALL plants.aggregate('jsonb_agg', type, 'jsonb', NULL,
      'coalesce($1, ''[]'') OPERATOR(pg_catalog.||) pg_catalog.jsonb_build_array($2)');
    CONTINUE WHEN type IN ('json', 'jsonb', 'uuid', 'bool', '"char"', 'text[]');
    CALL plants.aggregate('max', type, type, NULL, 'CASE WHEN $1 OPERATOR(pg_catalog.>=) $2 THEN $1 ELSE coalesce($2, $1) END');
    CALL plants.aggregate('min', type, type, NULL, 'CASE WHEN $1 OPERATOR(pg_catalog.<=) $2 THEN $1 ELSE coalesce($2, $1) END');
  END LOOP;
  FOREACH type IN ARRAY plants.like_it('integer') LOOP
    CALL plants.aggregate('sum', type, CASE type WHEN 'int8' THEN 'numeric' WHEN 'int4' THEN 'int8' WHEN 'int2' THEN 'int8' ELSE type END, NULL,
      'coalesce($1, 0) OPERATOR(pg_catalog.+) coalesce($2, 0)');
  END LOOP;
  FOREACH type IN ARRAY ARRAY['text', 'varchar', 'name'] LOOP
    CALL plants.aggregate('string_agg', type || ', text', 'text', NULL, '$1 OPERATOR(pg_catalog.||) $3 OPERATOR(pg_catalog.||) $2');
  END LOOP;
  CALL plants.aggregate('bool_and', 'bool', 'bool', 'true', '$1 AND coalesce($2, true)');
  CALL plants.aggregate('bool_or', 'bool', 'bool', 'false', '$1 OR coalesce($2, false)');
  CALL plants.aggregate('every', 'bool', 'bool', 'true', '$1 AND coalesce($2, true)');
END $$;

-- A type of the name of a built-in one, which looks at its values.
CREATE PROCEDURE plants.type(name text) LANGUAGE plpgsql AS $$ BEGIN
  CALL plants.counter(plants.behind('type ' || name), 'pg_catalog.' || pg_catalog.quote_ident(name), 'bool', 'RETURN true');
  EXECUTE pg_catalog.format('CREATE DOMAIN public.%1$I AS pg_catalog.%1$I CHECK (%2$s(VALUE))', name, plants.behind('type ' || name));
END $$;

-- A relation of the name of one of the catalogue.
CREATE PROCEDURE plants.relation(name text) LANGUAGE plpgsql AS $$ BEGIN
  CALL plants.counter(plants.behind('relation ' || name), '', 'bool', 'RETURN true');
  EXECUTE pg_catalog.format('CREATE VIEW public.%1$I AS SELECT %2$s FROM pg_catalog.%1$I WHERE %3$s()', name,
    (SELECT pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' ORDER BY a.attnum) FROM pg_catalog.pg_attribute AS a
      WHERE a.attrelid = ('pg_catalog.' || name)::regclass AND a.attnum > 0 AND a.atttypid <> 'anyarray'::regtype),
    plants.behind('relation ' || name));
  EXECUTE pg_catalog.format('GRANT SELECT ON public.%I TO PUBLIC', name);
END $$;

DO $$ DECLARE name text; BEGIN
  FOR name IN SELECT DISTINCT o.oprname FROM pg_catalog.pg_operator AS o WHERE o.oprkind = 'b'
    AND o.oprname IN ('=', '<>', '<', '<=', '>', '>=', '~', '~*', '!~', '!~*', '~~', '!~~', '~~*', '!~~*', '||', '->', '->>', '#>', '#>>', '#-',
      '-', '+', '*', '/', '%', '@>', '<@', '&&', '?', '?|', '?&', '@?', '@@', '^@') LOOP
    CALL plants.operators(name);
  END LOOP;
  FOR name IN SELECT DISTINCT f.proname FROM pg_catalog.pg_proc AS f JOIN pg_temp.words AS w ON w.word = f.proname
    WHERE f.prokind = 'f' LOOP
    CALL plants.functions(name);
  END LOOP;
  CALL plants.aggregates();
  FOREACH name IN ARRAY ARRAY['text', 'varchar', 'bpchar', 'name', 'char', 'uuid', 'int2', 'int4', 'int8', 'numeric', 'float8', 'bool', 'json',
    'jsonb', 'oid', 'regclass', 'regtype', 'regrole', 'regnamespace', 'timestamptz', 'bytea', 'jsonpath', 'bit'] LOOP
    CALL plants.type(name);
  END LOOP;
  FOR name IN SELECT c.relname FROM pg_catalog.pg_class AS c JOIN pg_temp.words AS w ON w.word = c.relname
    WHERE c.relnamespace = 'pg_catalog'::regnamespace AND c.relkind IN ('r', 'v') LOOP
    CALL plants.relation(name);
  END LOOP;
END $$;
