// Package inotify hears from the kernel which files have changed.
//
// The kernel queues a note of each change before the call that made it returns, and [Watcher.Take] reads that queue without waiting and
// without a goroutine that could be late: who asks knows of every change there was. What inotify cannot see, as changes that another
// machine makes to a file system of its own, stays unseen. See inotify(7).
package inotify

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// A Watcher is a queue of notes, and what they are of. Its methods may be called concurrently.
type Watcher struct {
	file *os.File
	mu   sync.Mutex
	fd   int              // file's, -1 when it is closed
	path map[int32]string // by the number of the watch
}

// New returns a Watcher that watches nothing.
func New() (*Watcher, error) {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("watch files: %w", err)
	}
	return &Watcher{file: os.NewFile(uintptr(fd), "inotify"), fd: fd, path: map[int32]string{}}, nil
}

// Close ends the watching. A [Watcher.Wait] returns.
func (w *Watcher) Close() error {
	w.mu.Lock()
	w.fd = -1
	w.mu.Unlock()
	return w.file.Close() // which waits for Wait, and that may be waiting for the lock
}

const (
	changes  = unix.IN_MODIFY | unix.IN_ATTRIB | unix.IN_CREATE | unix.IN_DELETE | unix.IN_MOVE | unix.IN_DELETE_SELF | unix.IN_MOVE_SELF
	arrivals = unix.IN_CREATE | unix.IN_MOVED_TO
)

// Add watches a file, or a directory and what is in it. Of what is not there, the nearest directory above it that is there is
// watched: when something comes there, Add has to be called again. It also has to be after a file or directory was
// replaced by another of its name.
func (w *Watcher) Add(path string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for at, mask := path, uint32(changes); ; at, mask = filepath.Dir(at), arrivals {
		wd, err := unix.InotifyAddWatch(w.fd, at, mask|unix.IN_MASK_ADD)
		if err == nil {
			w.path[int32(wd)] = at
			return nil
		}
		if !errors.Is(err, unix.ENOENT) || at == "/" || at == "." {
			return fmt.Errorf("watch %s: %w", path, err)
		}
	}
}

// A Note is of one change.
type Note struct {
	Path string // as it was added, with the name of what changed in that directory; empty where notes were lost: anything may have changed
	Attr bool   // of its inode only: mode, owner, times, links
}

// Take hands over the notes that there are, and does not wait for any. each must not call the Watcher.
func (w *Watcher) Take(each func(Note)) error {
	_, err := w.take(each)
	return err
}

// Wait waits for notes and hands them over, again and again, until the Watcher is closed. Those that somebody else takes are
// not among them. The error is never nil.
func (w *Watcher) Wait(each func(Note)) error {
	raw, err := w.file.SyscallConn()
	if err != nil {
		return fmt.Errorf("watch files: %w", err)
	}
	for {
		var taking error
		waiting := raw.Read(func(uintptr) bool {
			var n int
			n, taking = w.take(each)
			return n > 0 || taking != nil
		})
		if err := errors.Join(waiting, taking); err != nil {
			return fmt.Errorf("watch files: %w", err)
		}
	}
}

// take reads the queue until it is empty, and returns how many notes there were.
func (w *Watcher) take(each func(Note)) (count int, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var buf [4096]byte
	for {
		n, err := unix.Read(w.fd, buf[:])
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EAGAIN || err == nil && n == 0:
			return count, nil
		case err != nil:
			return count, err
		}
		for at := 0; at+unix.SizeofInotifyEvent <= n; {
			ev := (*unix.InotifyEvent)(unsafe.Pointer(&buf[at]))
			at += unix.SizeofInotifyEvent
			name := unix.ByteSliceToString(buf[at : at+int(ev.Len)])
			at += int(ev.Len)
			count++
			each(w.note(ev, name))
		}
	}
}

func (w *Watcher) note(ev *unix.InotifyEvent, name string) Note {
	path, ok := w.path[ev.Wd]
	if !ok { // notes were lost: IN_Q_OVERFLOW is of no watch
		return Note{}
	}
	if ev.Mask&unix.IN_IGNORED != 0 { // what was watched is gone; this is the last note of it
		delete(w.path, ev.Wd)
	}
	if name != "" {
		path = filepath.Join(path, name)
	}
	return Note{Path: path, Attr: ev.Mask&unix.IN_ATTRIB != 0}
}
