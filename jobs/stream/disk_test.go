package stream

import (
	"os"
	"testing"

	"tapedeck/internal/tape"
)

// removeStaging makes every publication fail, as a full disk does, until restoreStaging.
func removeStaging(t *testing.T, dir *tape.Dir) {
	t.Helper()
	if err := os.Rename(dir.StagingPath(), dir.StagingPath()+".away"); err != nil {
		t.Fatal(err)
	}
}

func restoreStaging(t *testing.T, dir *tape.Dir) {
	t.Helper()
	if err := os.Rename(dir.StagingPath()+".away", dir.StagingPath()); err != nil {
		t.Fatal(err)
	}
}
