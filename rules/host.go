package rules

import (
	"context"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules/builtin"
)

// Host carries out what rules do to the machine while they run, at their line and in their order, and reads what is
// not the event's own. The daemon's host does it; [DryRun] and [Recorder] record it.
//
// A Host serves one evaluation at a time, unless its own documentation says more. Paths are spelled as rules see
// them: /sys/…, /dev/…, /run/…, whatever the device's Roots are.
type Host interface {
	// Attr reads an attribute of dev, which is the event's device, one above it, or one that the rule named
	// ("[subsystem/kernel]name"). See hotplug.Device.Attr.
	Attr(dev *hotplug.Device, name string) (string, error)
	// SetAttr writes an attribute of dev. Attr reads what was written from then on.
	SetAttr(dev *hotplug.Device, name, value string) error
	// Sysctl reads a kernel parameter; name has slashes, as below /proc/sys. One that is not there is an error that
	// satisfies errors.Is(err, fs.ErrNotExist).
	Sysctl(name string) (string, error)
	// SetSysctl writes one.
	SetSysctl(name, value string) error
	// Program runs a command line without a shell and returns what it printed, bounded; more than 16 KiB is not looked
	// at. A name without a slash is a program in udev's directory. An exit status other than 0 is an error. rule is the
	// file and line that asked.
	Program(ctx context.Context, line string, env []string, rule string) (string, error)
	// Builtin runs an IMPORT{builtin}. An error means that the import fails.
	Builtin(ctx context.Context, name string, call *builtin.Call) error
	// User and Group look up names, not numbers, that hold a substitution, or all names when the program was compiled without Users.
	User(name string) (uint32, error)
	Group(name string) (uint32, error)
	// Const returns the machine's arch, virt or cvm, in the words of udev(7).
	Const(key string) string
	// CommandLine returns the kernel's command line.
	CommandLine() string
	// Global returns a property that holds for every event, set by "udevadm control --property". Matches and
	// substitutions see it where the event has no such property; programs and listeners do not.
	Global(key string) (string, bool)
	// Log returns the logger for what rules have to say: with the event's attributes on it, or nil.
	Log() modload.Logger
}

// Users looks up names of users and groups.
type Users interface {
	User(name string) (uint32, error)
	Group(name string) (uint32, error)
}
