package modload

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Claim is the right to be the daemon: a lock, of which there is one for a /run, and the record that every other kudev
// process follows. It ends with [Claim.Release] or with the process. Its methods are not for concurrent use.
type Claim struct {
	cfg    *Config
	lock   *os.File
	record *record
}

// HeldError is the error of [Config.Claim] when another process has the claim.
type HeldError struct{ Pid int }

func (e *HeldError) Error() string {
	if e.Pid == 0 {
		return "another kudev daemon runs already"
	}
	return fmt.Sprintf("another kudev daemon runs already: pid %d", e.Pid)
}

// Claim makes this process the daemon: it takes the lock and writes the record. What a killed predecessor had taken from
// the kernel is taken over, so that [Claim.Release] restores what stood there before any kudev. When another process has
// the claim the error is a *[HeldError].
func (c *Config) Claim() (*Claim, error) {
	h := &Claim{cfg: c}
	if err := h.take(); err != nil {
		if h.lock != nil {
			h.lock.Close()
		}
		if held := (*HeldError)(nil); errors.As(err, &held) {
			return nil, held
		}
		if errors.Is(err, unix.EROFS) {
			return nil, fmt.Errorf("claim %s: %w: mount a tmpfs on /run first", RunDir, err)
		}
		return nil, fmt.Errorf("claim %s: %w", RunDir, err)
	}
	return h, nil
}

func (h *Claim) take() (err error) {
	o := &h.cfg.options
	if err := os.MkdirAll(o.path(RunDir), 0o755); err != nil {
		return err
	}
	h.lock, err = os.OpenFile(o.path(lockFile), os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return err
	}
	lock := unix.Flock_t{Type: unix.F_WRLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(h.lock.Fd(), unix.F_OFD_SETLK, &lock); err != nil {
		if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EACCES) {
			return &HeldError{lockPid(int(h.lock.Fd()))}
		}
		return fmt.Errorf("lock: %w", err)
	}
	before, err := readRecord(o)
	if err != nil {
		before = nil // damaged: nothing can be learnt from it
	}
	h.record = h.cfg.newRecord()
	if before != nil {
		h.record.Before = before.Before
	}
	if err := h.lock.Truncate(0); err != nil {
		return err
	}
	if _, err := h.lock.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0); err != nil {
		return err
	}
	return h.record.write(o)
}

// Release gives back to the kernel what was there before, removes the record and ends the claim. What could not be given back stays for
// a successor: the kernel goes on calling kudev, and the record says what was there.
func (h *Claim) Release() error {
	o := &h.cfg.options
	err := h.restore()
	if err == nil {
		for _, name := range []string{"record", "modprobe"} {
			if rerr := os.Remove(o.path(filepath.Join(RunDir, name))); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
				err = errors.Join(err, rerr)
			}
		}
	}
	return errors.Join(err, h.lock.Close()) // the file stays: a lock on a removed file would exclude nobody
}

const lockFile = RunDir + "/lock"

func lockPid(fd int) int {
	var text [32]byte
	n, _ := unix.Pread(fd, text[:], 0)
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:max(n, 0)])))
	if err != nil {
		return 0
	}
	return pid
}

// holder returns the process that has the claim: its lock is asked for, not taken, so that looking disturbs nobody. It
// works across PID namespaces, and no process that was given a dead daemon's number can be mistaken for it.
func holder(o *Options) (pid int, held bool, err error) {
	fd, err := openRead(o.path(lockFile)) // no os.File: every modprobe asks, and need not set up a poller for it
	if errors.Is(err, fs.ErrNotExist) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, &fs.PathError{Op: "open", Path: o.path(lockFile), Err: err}
	}
	defer unix.Close(fd)
	lock := unix.Flock_t{Type: unix.F_RDLCK, Whence: io.SeekStart}
	if err := unix.FcntlFlock(uintptr(fd), unix.F_OFD_GETLK, &lock); err != nil {
		return 0, false, fmt.Errorf("%s: %w", lockFile, err)
	}
	if lock.Type == unix.F_UNLCK {
		return 0, false, nil
	}
	return lockPid(fd), true, nil
}

// liveRecord returns the record of the daemon that runs, or nil when none does.
func liveRecord(o *Options) (*record, error) {
	pid, held, err := holder(o)
	if err != nil || !held {
		return nil, err
	}
	r, err := readRecord(o)
	if err != nil || r == nil || r.Pid != pid { // just starting: what lies there is its predecessor's
		return nil, err
	}
	return r, nil
}

// lastRecord returns the record that a daemon has left by being killed, or nil when there is none or its tree is gone.
func lastRecord(o *Options) (*record, error) {
	r, err := readRecord(o)
	if err != nil || r == nil {
		return nil, err
	}
	if _, err := os.Stat(r.Tree); err != nil {
		return nil, nil
	}
	return r, nil
}

// DaemonPid returns the process that is the daemon at this moment, 0 when none is.
func (c *Config) DaemonPid() int {
	pid, held, err := holder(&c.options)
	if err != nil || !held {
		return 0
	}
	return pid
}
