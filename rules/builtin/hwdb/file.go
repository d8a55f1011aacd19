package hwdb

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// Paths are where a system keeps its database, the first that exists counts.
var paths = [...]string{
	"etc/systemd/hwdb/hwdb.bin",
	"etc/udev/hwdb.bin",
	"usr/lib/systemd/hwdb/hwdb.bin",
	"usr/local/lib/systemd/hwdb/hwdb.bin",
	"lib/systemd/hwdb/hwdb.bin",
	"usr/lib/udev/hwdb.bin",
	"lib/udev/hwdb.bin",
}

// Paths returns where a system below root keeps its database, highest first.
func Paths(root string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = filepath.Join("/", root, p)
	}
	return out
}

// File is the database that a system uses: the first of some paths that exists. Each look-up sees whether another
// file stands there by now and opens it. It may be used by any number of goroutines.
type File struct {
	// Every is for how long what was seen there counts, for who asks hundreds of times a second; 0 is not at all. Set it before the first
	// look-up.
	Every time.Duration

	paths []string

	mu   sync.Mutex
	db   *DB
	st   os.FileInfo
	err  error
	seen time.Time
}

// NewFile returns the database at the first of the paths that exists when it is asked; see [Paths].
func NewFile(paths ...string) *File { return &File{paths: paths} }

// DB returns the database as it is now. The error satisfies errors.Is(err, fs.ErrNotExist) when there is none.
func (f *File) DB() (*DB, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.Every > 0 {
		if !f.seen.IsZero() && time.Since(f.seen) < f.Every {
			return f.db, f.err
		}
		f.seen = time.Now()
	}
	for _, path := range f.paths {
		st, err := os.Stat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			f.db, f.st, f.err = nil, nil, err
			return nil, err
		}
		if f.st != nil && os.SameFile(st, f.st) && st.Size() == f.st.Size() && st.ModTime().Equal(f.st.ModTime()) {
			return f.db, f.err
		}
		f.db, f.err = Open(path)
		f.st = st
		return f.db, f.err
	}
	f.db, f.st = nil, nil
	f.err = &fs.PathError{Op: "find", Path: "hwdb.bin", Err: fs.ErrNotExist}
	return nil, f.err
}

// Lookup looks the modalias up in the database as it is now; see [DB.Lookup].
func (f *File) Lookup(modalias string, yield func(key, value string) bool) error {
	db, err := f.DB()
	if err != nil {
		return err
	}
	return db.Lookup(modalias, yield)
}
