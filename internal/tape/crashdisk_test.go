package tape

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"tapedeck/internal/durable"
)

// crashDisk is a disk with a fault at one chosen operation and with power cuts. Besides the real
// files it keeps a model of what a file system promises to have after a power cut, and no more: the
// content of a file at its last Sync, and the entries of a directory at its last sync. A rename is
// durable in both its directories or in neither.
type crashDisk struct {
	t    testing.TB
	base string // the test's directory
	root string // of the real files, in base; it contains the data directory

	mu    sync.Mutex // held during an operation
	trace []string   // the operations since arm
	at    int        // index in trace of the operation with the fault, or -1
	fault fault
	dead  bool
	// after is called after each operation, if not nil.
	after func()

	top     *inode // the directory root
	pending []pendingOp
	open    map[*crashFile]bool
}

type fault int

const (
	healthy fault = iota
	// fails: the operation is not done and returns an error.
	fails
	// failsLate: the operation is done and returns an error all the same.
	failsLate
	// kills: the process is killed after the operation.
	kills
)

func (f fault) String() string {
	return [...]string{"healthy", "fails", "fails after it was done", "kills the process"}[f]
}

var (
	errFault = errors.New("input/output error")
	errDead  = errors.New("the process is dead")
)

// inode is a file or a directory.
type inode struct {
	durable []byte // a file's content as of its last Sync
	synced  bool
	latest  func() []byte
	// A directory's entries as the process sees them, and as they are durable.
	live, disk map[string]*inode
}

func newDirInode() *inode { return &inode{live: map[string]*inode{}, disk: map[string]*inode{}} }

type edit struct {
	dir  *inode
	name string
	to   *inode // nil if the entry is removed
}

// pendingOp is an operation that is not durable yet.
type pendingOp []edit

// newCrashDisk creates an empty disk in a new directory below base.
func newCrashDisk(t testing.TB, base string) *crashDisk {
	root, err := os.MkdirTemp(base, "")
	if err != nil {
		t.Fatal(err)
	}
	return &crashDisk{t: t, base: base, root: root, at: -1, open: map[*crashFile]bool{}, top: newDirInode()}
}

// clone returns another disk in the same state.
func (c *crashDisk) clone() *crashDisk {
	out := newCrashDisk(c.t, c.base)
	copies := map[*inode]*inode{c.top: out.top}
	var copied func(*inode) *inode
	entries := func(from, to map[string]*inode) {
		for name, child := range from {
			to[name] = copied(child)
		}
	}
	copied = func(from *inode) *inode {
		to := copies[from]
		if to == nil && from != nil {
			to = &inode{durable: from.durable, synced: from.synced, latest: from.latest}
			copies[from] = to
			if from.disk != nil {
				to.live, to.disk = map[string]*inode{}, map[string]*inode{}
				entries(from.live, to.live)
				entries(from.disk, to.disk)
			}
		}
		return to
	}
	entries(c.top.live, out.top.live)
	entries(c.top.disk, out.top.disk)
	for _, op := range c.pending {
		var edits pendingOp
		for _, e := range op {
			edits = append(edits, edit{copied(e.dir), e.name, copied(e.to)})
		}
		out.pending = append(out.pending, edits)
	}
	// Files do not change, so hard links serve as copies.
	var build func(dir *inode, path string)
	build = func(dir *inode, path string) {
		for name, child := range dir.live {
			rel := filepath.Join(path, name)
			var err error
			if child.disk != nil {
				if err = os.Mkdir(filepath.Join(out.root, rel), 0o755); err == nil {
					build(child, rel)
				}
			} else {
				err = os.Link(filepath.Join(c.root, rel), filepath.Join(out.root, rel))
			}
			if err != nil {
				c.t.Fatal(err)
			}
		}
	}
	build(c.top, "")
	return out
}

// afterPowerCut returns the content of all files after a power cut that loses all that is not
// durable, by path below the data directory.
func (c *crashDisk) afterPowerCut() map[string][]byte {
	out := map[string][]byte{}
	var walk func(dir *inode, path string)
	walk = func(dir *inode, path string) {
		for name, child := range dir.disk {
			if child.disk != nil {
				walk(child, filepath.Join(path, name))
			} else {
				out[filepath.Join(path, name)] = child.durable
			}
		}
	}
	if data := c.top.disk["data"]; data != nil {
		walk(data, "")
	}
	return out
}

func (c *crashDisk) data() string { return filepath.Join(c.root, "data") }

// arm sets the fault for the operation with this number from now on, starting at 0.
func (c *crashDisk) arm(at int, f fault) {
	c.trace, c.at, c.fault = nil, at, f
}

// revive ends the fault, and starts a new process if the last one was killed.
func (c *crashDisk) revive() {
	c.arm(-1, healthy)
	c.dead = false
}

// do performs an operation, unless a fault prevents it.
func (c *crashDisk) do(name string, perform func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.dead {
		return errDead
	}
	n := len(c.trace)
	c.trace = append(c.trace, name)
	f := healthy
	if n == c.at {
		f = c.fault
	}
	if f == fails {
		return errFault
	}
	err := perform()
	if c.after != nil {
		c.after()
	}
	switch f {
	case failsLate:
		return errFault
	case kills:
		c.kill()
		return errDead
	}
	return err
}

// kill ends the process: the system closes its files and releases their locks.
func (c *crashDisk) kill() {
	c.dead = true
	for file := range c.open {
		file.real.Close()
	}
	clear(c.open)
}

// short returns a path as the trace shows it.
func (c *crashDisk) short(path string) string {
	if rel, err := filepath.Rel(c.data(), path); err == nil {
		return rel
	}
	return path
}

// find returns the directory that contains path, and the name in it.
func (c *crashDisk) find(path string) (dir *inode, name string) {
	rel, err := filepath.Rel(c.root, path)
	if err != nil || strings.HasPrefix(rel, "..") {
		c.t.Fatalf("%s is outside of the disk", path)
	}
	parts := strings.Split(rel, string(filepath.Separator))
	dir = c.top
	for _, part := range parts[:len(parts)-1] {
		if dir = dir.live[part]; dir == nil {
			c.t.Fatalf("%s: the model has no %s", path, part)
		}
	}
	return dir, parts[len(parts)-1]
}

func (c *crashDisk) inode(path string) *inode {
	if path == c.root {
		return c.top
	}
	dir, name := c.find(path)
	return dir.live[name]
}

// change applies edits to what the process sees, and records them as not durable.
func (c *crashDisk) change(edits ...edit) {
	for _, e := range edits {
		e.apply(e.dir.live)
	}
	c.pending = append(c.pending, edits)
}

func (e edit) apply(to map[string]*inode) {
	if e.to == nil {
		delete(to, e.name)
	} else {
		to[e.name] = e.to
	}
}

// commit makes durable the pending operations for which selected returns true, and all earlier ones
// that they depend on.
func (c *crashDisk) commit(selected func(pendingOp) bool) {
	needed := map[edit]bool{} // by directory and name
	key := func(e edit) edit { return edit{dir: e.dir, name: e.name} }
	picked := make([]bool, len(c.pending))
	for i, op := range slices.Backward(c.pending) {
		picked[i] = selected(op) || slices.ContainsFunc(op, func(e edit) bool { return needed[key(e)] })
		if picked[i] {
			for _, e := range op {
				needed[key(e)] = true
			}
		}
	}
	var left []pendingOp
	for i, op := range c.pending {
		if !picked[i] {
			left = append(left, op)
			continue
		}
		for _, e := range op {
			e.apply(e.dir.disk)
		}
	}
	c.pending = left
}

// cutPower returns the disk after a power cut. Everything on it is durable. keep is the fraction of
// what was not durable that survived nevertheless.
func (c *crashDisk) cutPower(keep float64, rnd *rand.Rand) *crashDisk {
	survives := make(map[*edit]bool)
	for _, op := range c.pending {
		survives[&op[0]] = rnd.Float64() < keep
	}
	c.commit(func(op pendingOp) bool { return survives[&op[0]] })
	out := newCrashDisk(c.t, c.base)
	copies := map[*inode]*inode{}
	paths := map[*inode]string{}
	var build func(from, to *inode, path string)
	build = func(from, to *inode, path string) {
		for name, child := range from.disk {
			full := filepath.Join(path, name)
			if child.disk != nil {
				made := newDirInode()
				to.live[name], to.disk[name] = made, made
				if err := os.Mkdir(full, 0o755); err != nil {
					c.t.Fatal(err)
				}
				build(child, made, full)
				continue
			}
			if made := copies[child]; made != nil { // a second link
				to.live[name], to.disk[name] = made, made
				if err := os.Link(paths[child], full); err != nil {
					c.t.Fatal(err)
				}
				continue
			}
			content := child.durable
			if !child.synced && keep > 0 {
				content = child.latest()
				content = content[:int(rnd.Float64()*float64(len(content)))]
			}
			made := &inode{durable: content, synced: true}
			copies[child], paths[child] = made, full
			to.live[name], to.disk[name] = made, made
			if err := os.WriteFile(full, content, 0o644); err != nil {
				c.t.Fatal(err)
			}
		}
	}
	build(c.top, out.top, out.root)
	return out
}

type crashFile struct {
	disk  *crashDisk
	path  string
	real  durable.File
	inode *inode
	text  bytes.Buffer
}

func (c *crashDisk) Create(path string) (durable.File, error) {
	var out *crashFile
	err := c.do("create "+c.short(path), func() error {
		real, err := durable.OS{}.Create(path)
		if err != nil {
			return err
		}
		dir, name := c.find(path)
		out = &crashFile{disk: c, path: path, real: real}
		out.inode = &inode{latest: out.text.Bytes}
		c.change(edit{dir, name, out.inode})
		c.open[out] = true
		return nil
	})
	if err != nil {
		if out != nil { // the caller has no file to close
			out.shut()
		}
		return nil, err
	}
	return out, nil
}

func (f *crashFile) shut() error {
	delete(f.disk.open, f)
	return f.real.Close()
}

func (f *crashFile) Write(p []byte) (n int, err error) {
	err = f.disk.do("write "+f.disk.short(f.path), func() error {
		n, err = f.real.Write(p)
		f.text.Write(p[:n])
		f.inode.synced = false
		return err
	})
	if err != nil {
		n = 0
	}
	return n, err
}

// Sync does not sync the real file, because only the model decides what is durable.
func (f *crashFile) Sync() error {
	return f.disk.do("sync "+f.disk.short(f.path), func() error {
		f.inode.durable, f.inode.synced = bytes.Clone(f.text.Bytes()), true
		return nil
	})
}

func (f *crashFile) Close() error {
	if f.disk.dead {
		return errDead
	}
	return f.shut()
}

func (c *crashDisk) Rename(from, to string) error {
	return c.do("rename "+c.short(from)+" to "+c.short(to), func() error {
		if err := os.Rename(from, to); err != nil {
			return err
		}
		a, x := c.find(from)
		b, y := c.find(to)
		if a.live[x] != b.live[y] { // rename does nothing for two links to the same file
			c.change(edit{a, x, nil}, edit{b, y, a.live[x]})
		}
		return nil
	})
}

func (c *crashDisk) Exchange(x, y string) error {
	return c.do("exchange "+c.short(x)+" and "+c.short(y), func() error {
		if err := (durable.OS{}).Exchange(x, y); err != nil {
			return err
		}
		a, p := c.find(x)
		b, q := c.find(y)
		c.change(edit{a, p, b.live[q]}, edit{b, q, a.live[p]})
		return nil
	})
}

func (c *crashDisk) SyncDir(path string) error {
	return c.do("sync the directory "+c.short(path), func() error {
		if path == c.base {
			return nil
		}
		if _, err := os.Stat(path); err != nil {
			return err
		}
		dir := c.inode(path)
		c.commit(func(op pendingOp) bool { return slices.ContainsFunc(op, func(e edit) bool { return e.dir == dir }) })
		return nil
	})
}

func (c *crashDisk) SyncFile(path string) error {
	return c.do("sync "+c.short(path), func() error {
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		file := c.inode(path)
		file.durable, file.synced = content, true
		return nil
	})
}

func (c *crashDisk) Mkdir(path string) error {
	return c.do("create the directory "+c.short(path), func() error {
		dir, name := c.find(path)
		if err := (durable.OS{}).Mkdir(path); err != nil || dir.live[name] != nil {
			return err
		}
		c.change(edit{dir, name, newDirInode()})
		return nil
	})
}

func (c *crashDisk) Remove(path string) error {
	return c.do("remove "+c.short(path), func() error {
		if err := os.Remove(path); err != nil {
			return err
		}
		dir, name := c.find(path)
		c.change(edit{dir, name, nil})
		return nil
	})
}

// RemoveAll is one operation for each file, in the order of the listing, as os.RemoveAll is.
func (c *crashDisk) RemoveAll(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var failed error
	if info.IsDir() {
		entries, err := os.ReadDir(path)
		if err != nil {
			return err
		}
		for _, entry := range entries {
			if err := c.RemoveAll(filepath.Join(path, entry.Name())); err != nil && failed == nil {
				failed = err
			}
		}
	}
	if failed != nil {
		return failed
	}
	return c.Remove(path)
}

func (c *crashDisk) Touch(path string) error {
	return c.do("touch "+c.short(path), func() error { return durable.OS{}.Touch(path) })
}

func (c *crashDisk) Link(from, to string) error {
	return c.do("link "+c.short(from)+" to "+c.short(to), func() error {
		if err := os.Link(from, to); err != nil {
			return err
		}
		a, x := c.find(from)
		b, y := c.find(to)
		c.change(edit{b, y, a.live[x]})
		return nil
	})
}

// withoutExchange is a file system that cannot exchange two names.
type withoutExchange struct{ *crashDisk }

func (withoutExchange) Exchange(string, string) error {
	return fmt.Errorf("exchange: %w", errors.ErrUnsupported)
}

// withoutLinks is a file system that has no hard links, either.
type withoutLinks struct{ withoutExchange }

func (withoutLinks) Link(string, string) error {
	return fmt.Errorf("link: %w", syscall.EPERM) // as exFAT says it
}
