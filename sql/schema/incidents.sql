-- incidents holds groups of alerts that are about one event: one row per incident.
-- derived/incidents.sql defines it over alerts.
CREATE TABLE incidents (
    symbol VARCHAR NOT NULL, -- as the exchange spells it; * for an incident of the whole market
    started_at TIMESTAMP NOT NULL, -- UTC, at of its first alert
    last_at TIMESTAMP NOT NULL, -- UTC, at of its last alert
    severity VARCHAR NOT NULL, -- low, medium or high
    detectors VARCHAR[] NOT NULL, -- that agree, sorted by name
    symbols VARCHAR[] NOT NULL, -- sorted by name
    alerts BIGINT NOT NULL,
    message VARCHAR NOT NULL, -- of its most severe alert, or how many symbols it includes
);
