// Package builtin holds what rules import or run without a process of their own: path_id, usb_id, input_id and their
// fellows, one file each; and [Tool], the helper programs that stock rules call and that a minimal system lacks.
//
// A [Table] is made once with what builtins need beyond the device itself, and then serves any number of events at
// once. A builtin sets properties through its [Call]; the few that change the machine (keyboard, net_setup_link,
// uaccess, kmod) do so through the seams in [Options], so that a dry run and a test record instead.
package builtin

import (
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules/builtin/hwdb"
)

// Call is one use of a builtin by a rule. It belongs to one goroutine.
type Call struct {
	Event  *hotplug.Event
	Device *hotplug.Device
	Args   []string // what stands behind the builtin's name
	Log    modload.Logger

	// Get returns a property of the event as the rules have it now; Set adds one, Unset takes it away (nil: nothing does).
	Get   func(key string) (string, bool)
	Set   func(key, value string)
	Unset func(key string)
	// All ranges over the properties of the event as the rules have them now, in any order. Only keyboard, which stands
	// in RUN, needs it.
	All iter.Seq2[string, string]
}

// Func is a builtin. An error means that the import fails: the rule's line does not match.
type Func func(ctx context.Context, call *Call) error

// ErrNothing is the error of a builtin that worked and found nothing to say of the device. It is no failure to report.
var ErrNothing = errors.New("nothing to say of this device")

// ErrUnknown is what Run answers to a name that is no builtin.
var ErrUnknown = errors.New("no such builtin")

// Options are what builtins need beyond the device. The zero value serves: what is nil does nothing, or uses the
// machine itself.
type Options struct {
	// HWDB is the hardware database; nil for none.
	HWDB *hwdb.File
	// Links are the .link files; nil is the system's own.
	Links *LinkFiles
	// Network changes interfaces; nil is the kernel's rtnetlink and ethtool, and on a dry run a NetworkRecorder.
	Network Network
	// CommandLine is the kernel's (net.naming-scheme= and net.ifnames= count).
	CommandLine string
	// Udev is the version of systemd whose properties are set where versions differ: 252, which 0 means, or later.
	Udev int
	// Load loads the modules that an alias asks for; nil answers `kmod load` with an error.
	Load func(ctx context.Context, alias string) error
	// Open opens a device's node; nil is [OpenNode].
	Open OpenFunc
	// SetACL replaces the access list of a node; nil is the file system's own, and nothing on a dry run.
	SetACL func(path string, acl []ACLEntry) error
	// DryRun forbids every effect: modules, key maps, attributes, the door of a drive, and what has a seam above that is nil.
	DryRun bool
}

// Table holds the builtins with what they need. It may be used by any number of goroutines.
type Table struct {
	opts    Options
	naming  scheme
	entries map[string]entry
}

type entry struct {
	run  Func
	once bool
	help string
}

// New returns the table of builtins.
func New(opts Options) *Table {
	if opts.Udev == 0 {
		opts.Udev = 252
	}
	if opts.Open == nil {
		opts.Open = OpenNode
	}
	if opts.Network == nil {
		opts.Network = kernelNetwork{}
		if opts.DryRun {
			opts.Network = NetworkRecorder{}
		}
	}
	if opts.SetACL == nil {
		opts.SetACL = setACL
		if opts.DryRun {
			opts.SetACL = func(string, []ACLEntry) error { return nil }
		}
	}
	if opts.Links == nil {
		opts.Links = NewLinkFiles(LinkDirs("/"), ReadMachine("/", opts.CommandLine))
	}
	t := &Table{opts: opts, naming: namingScheme(opts.CommandLine)}
	t.entries = map[string]entry{
		"blkid":          {t.blkid, true, "Filesystem and partition probing"},
		"btrfs":          {t.btrfs, false, "btrfs volume management"},
		"factory_reset":  {t.factoryReset, false, "Factory reset status"},
		"hwdb":           {t.hwdb, false, "Hardware database"},
		"input_id":       {t.inputID, false, "Input device properties"},
		"keyboard":       {t.keyboard, false, "Keyboard scan code to key mapping"},
		"kmod":           {t.kmod, false, "Kernel module loader"},
		"net_driver":     {t.netDriver, opts.Udev >= 257, "Set driver for network device"},
		"net_id":         {t.netID, false, "Network device properties"},
		"net_setup_link": {t.netSetupLink, false, "Configure network link"},
		"path_id":        {t.pathID, true, "Compose persistent device path"},
		"uaccess":        {t.uaccess, false, "Manage device node user ACL"},
		"usb_id":         {t.usbID, true, "USB device properties"},
	}
	return t
}

// Lookup returns the builtin of that name.
func (t *Table) Lookup(name string) (Func, bool) {
	e, ok := t.entries[name]
	return e.run, ok
}

// Once reports whether udev runs the builtin once an event and answers a repeat with the first result.
func (t *Table) Once(name string) bool { return t.entries[name].once }

// All ranges over the builtins' names and what each is for, in no order.
func (t *Table) All() iter.Seq2[string, string] {
	return func(yield func(string, string) bool) {
		for name, e := range t.entries {
			if !yield(name, e.help) {
				return
			}
		}
	}
}

// Run runs the builtin of that name. An unknown name is an error that satisfies errors.Is(err, ErrUnknown).
func (t *Table) Run(ctx context.Context, name string, call *Call) error {
	e, ok := t.entries[name]
	if !ok {
		return fmt.Errorf("%s: %w", name, ErrUnknown)
	}
	if err := e.run(ctx, call); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// IsOnce says of a builtin's name whether it runs once an event, for a compiler that has no table.
func IsOnce(name string) bool {
	switch name {
	case "blkid", "path_id", "usb_id":
		return true
	}
	return false
}

// IsName says whether name is a builtin's, for a compiler that has no table.
func IsName(name string) bool {
	switch name {
	case "blkid", "btrfs", "factory_reset", "hwdb", "input_id", "keyboard", "kmod", "net_driver", "net_id",
		"net_setup_link", "path_id", "uaccess", "usb_id":
		return true
	}
	return false
}
