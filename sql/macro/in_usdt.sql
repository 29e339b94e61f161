-- in_usdt(amount, rate) returns an exact amount of a quote asset in USDT, as a decimal so that the sum does
-- not depend on the order. It is NULL if the rate is, or if the amount has no place in the decimal.
CREATE MACRO in_usdt(amount, rate) AS
CASE WHEN rate = 1 THEN amount ELSE try_cast(amount::DOUBLE * rate AS DECIMAL(38, 16)) END;
