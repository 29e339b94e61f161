-- severity_of(score, medium, high) returns the severity of a score: high from high on, medium from
-- medium on, otherwise low.
CREATE MACRO severity_of(score, medium, high) AS
CASE
    WHEN score >= high THEN 'high'
    WHEN score >= medium THEN 'medium'
    ELSE 'low'
END;
