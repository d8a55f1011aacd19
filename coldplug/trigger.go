package coldplug

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/kudev/kudev/hotplug"
)

// Trigger asks the kernel to announce devices again.
type Trigger struct {
	Action string   // "add", "change", …; "" means "add"
	UUID   string   // comes back in the event as SYNTH_UUID; "" sends none
	Args   []string // each "KEY=value", letters and digits: comes back as SYNTH_ARG_KEY. They need a UUID

	// Pace, when given, is called before each write and may block, so that a listener with a small buffer is not run over.
	Pace func(ctx context.Context) error
	// Each, when given, is called for each device after its write, with what went wrong, nil as a rule.
	Each func(item Item, err error)
	// Write, when given, is used in place of a write to the device's uevent file.
	Write func(item Item, message string) error
	// DryRun writes nothing.
	DryRun bool
}

// Report tells what a run of a trigger did.
type Report struct {
	Triggered int
	Vanished  []Item    // gone between the walk and the write: not a failure
	Failed    []Failure // the kernel refused, or the file could not be written
}

// Failure is one device that could not be triggered.
type Failure struct {
	Item Item
	Err  error
}

func (f Failure) Error() string { return fmt.Sprintf("trigger %s: %v", f.Item.Devpath, f.Err) }
func (f Failure) Unwrap() error { return f.Err }

// Run triggers each item in turn. A device that is gone or refuses is reported and does not stop the rest; the error
// is the context's or Pace's alone, or a sysfs that is mounted read-only, where nothing else would go better.
// Kernel: lib/kobject_uevent.c, kobject_synth_uevent; Documentation/ABI/testing/sysfs-uevent.
func (t *Trigger) Run(ctx context.Context, roots hotplug.Roots, items []Item) (Report, error) {
	var rep Report
	full, plain := t.message()
	sys := sysdir(roots)
	for _, item := range items {
		if err := ctx.Err(); err != nil {
			return rep, fmt.Errorf("trigger: %w", err)
		}
		if t.Pace != nil {
			if err := t.Pace(ctx); err != nil {
				return rep, fmt.Errorf("trigger: %w", err)
			}
		}
		var err error
		switch {
		case t.DryRun:
		case t.Write != nil:
			err = t.Write(item, full)
		default:
			err = writeUevent(sys+item.Devpath+"/uevent", full, plain)
		}
		switch {
		case err == nil:
			rep.Triggered++
		case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENODEV), errors.Is(err, unix.ENXIO):
			rep.Vanished = append(rep.Vanished, item)
		case errors.Is(err, unix.EROFS):
			return rep, fmt.Errorf("trigger %s: %s is mounted read-only: %w", item.Devpath, sys, err)
		default:
			rep.Failed = append(rep.Failed, Failure{item, err})
		}
		if t.Each != nil {
			t.Each(item, err)
		}
	}
	return rep, nil
}

func (t *Trigger) message() (full, plain string) {
	plain = t.Action
	if plain == "" {
		plain = "add"
	}
	full = plain
	if t.UUID != "" {
		full += " " + t.UUID
		if len(t.Args) > 0 {
			full += " " + strings.Join(t.Args, " ")
		}
	}
	return full, plain
}

// writeUevent writes full, and plain to a kernel that knows no UUID (before 4.13).
func writeUevent(name, full, plain string) error {
	fd, err := unix.Open(name, unix.O_WRONLY|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	for {
		_, err = unix.Write(fd, []byte(full))
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.EINVAL && full != plain:
			full = plain
			continue
		}
		return err
	}
}

// readTrim reads an attribute of sysfs, of which one read yields all, without the newline at its end.
func readTrim(name string) (string, error) {
	fd, err := unix.Open(name, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", &os.PathError{Op: "open", Path: name, Err: err}
	}
	defer unix.Close(fd)
	var buf [4096]byte
	for {
		n, err := unix.Read(fd, buf[:])
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return "", &os.PathError{Op: "read", Path: name, Err: err}
		}
		return strings.TrimRight(string(buf[:n]), "\n"), nil
	}
}
