-- incidents is what happened, as far as alerts tell: one row an incident. It is made of alerts by derived/incidents.sql.
CREATE TABLE incidents (
    symbol VARCHAR NOT NULL, -- as the exchange spells it; * where many symbols make one incident of the whole market
    started_at TIMESTAMP NOT NULL, -- UTC, at of its first alert
    last_at TIMESTAMP NOT NULL, -- UTC, at of its last alert
    severity VARCHAR NOT NULL, -- low, medium or high
    detectors VARCHAR[] NOT NULL, -- those that agree, by name
    symbols VARCHAR[] NOT NULL, -- by name
    alerts BIGINT NOT NULL,
    message VARCHAR NOT NULL, -- of its gravest alert, or how many symbols it is
);
