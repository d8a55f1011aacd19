package rules

import (
	"context"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/rules/builtin"
)

// Host carries out what rules do to the machine while they run, at their line and in their order, and reads what is
// not the device's own. The daemon's host does it; a dry run's records it.
type Host interface {
	SetAttr(dev *hotplug.Device, name, value string) error
	Sysctl(name string) (string, error)
	SetSysctl(name, value string) error
	// Program runs a command line without a shell and returns what it printed, bounded. An exit status that is not 0 is an error.
	Program(ctx context.Context, line string, env []string, rule string) (string, error)
	// Builtin runs an IMPORT{builtin}.
	Builtin(ctx context.Context, name string, call *builtin.Call) error
	User(name string) (uint32, error)
	Group(name string) (uint32, error)
	Const(key string) string // arch, virt, cvm
	CommandLine() string     // /proc/cmdline
}
