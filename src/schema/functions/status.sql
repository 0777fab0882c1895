
-- retell-vault: how far the integration of a user has come.
#variable_conflict use_variable
BEGIN
  IF (p_status = ANY (ARRAY[<<statuses>>])) IS NOT TRUE THEN
    RAISE EXCEPTION USING ERRCODE = 'invalid_parameter_value', MESSAGE = 'the status must be one of <<status_words>>';
  END IF;
  UPDATE <<relation>> AS t SET <<status>> = p_status WHERE <<owner>>;
  IF NOT FOUND THEN
    RAISE EXCEPTION USING ERRCODE = 'no_data_found', MESSAGE = 'the row is not there, or may not be written';
  END IF;
END
