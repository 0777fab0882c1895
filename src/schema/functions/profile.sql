
-- retell-vault: the row of a user, as the caller may see it.
#variable_conflict use_variable
DECLARE
  v_profile jsonb;
BEGIN
  SELECT pg_catalog.to_jsonb(t) INTO v_profile FROM <<relation>> AS t WHERE <<owner>> LIMIT 1;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'the row is not there, or may not be read';
  END IF;
  RETURN v_profile;
END
