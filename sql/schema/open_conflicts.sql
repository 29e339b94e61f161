-- open_conflicts holds the rows of conflicts that are not resolved: the row on the tape does not have the
-- content that was refused, and the id was not dropped on purpose. Its columns are those of conflicts.
CREATE TABLE open_conflicts AS FROM conflicts LIMIT 0;
