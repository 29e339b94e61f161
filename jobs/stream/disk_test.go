package stream

import (
	"os"
	"testing"

	"tapedeck/internal/tape"
)

// breakStaging makes every publishing fail, as a full disk does; mendStaging puts it right.
func breakStaging(t *testing.T, dir *tape.Dir) {
	t.Helper()
	if err := os.Rename(dir.StagingPath(), dir.StagingPath()+".away"); err != nil {
		t.Fatal(err)
	}
}

func mendStaging(t *testing.T, dir *tape.Dir) {
	t.Helper()
	if err := os.Rename(dir.StagingPath()+".away", dir.StagingPath()); err != nil {
		t.Fatal(err)
	}
}
