-- judged holds what the detectors judged: one row per (detector, symbol, start_at). A time without a
-- row was not looked at. derived/judged.sql defines it over files in .state.
CREATE TABLE judged (
    detector VARCHAR NOT NULL,
    symbol VARCHAR NOT NULL,
    start_at TIMESTAMP NOT NULL, -- UTC, inclusive, on a minute
    end_at TIMESTAMP NOT NULL, -- UTC, exclusive; the rows of one key do not overlap
    reason VARCHAR, -- NULL: judged; else why not: history, gap, dropped, waiting, unknown, failed or changed
);
