package tape

import "tapedeck/internal/durable"

// writersLock is held while files become visible: between two holders nothing is published.
const writersLock = "writers.lock"

// lock takes an exclusive lock among all processes on the data directory and blocks until it has it. Holders keep it for
// milliseconds (for a compaction's exchange too), and the system releases the lock of a process that dies.
func (d *Dir) lock(name string) (unlock func(), err error) {
	unlock, err = durable.Lock(d.state.Path(name))
	if err != nil {
		return nil, err
	}
	if err := d.finishPending(); err != nil {
		unlock()
		return nil, err
	}
	return unlock, nil
}
