package rules

import (
	"context"
	"fmt"
	"io/fs"

	"github.com/kudev/kudev/hotplug"
	"github.com/kudev/kudev/modload"
	"github.com/kudev/kudev/rules/builtin"
)

// Effect is something that a rule would have done to the machine.
type Effect struct {
	Kind   string // "attr", "sysctl"
	Target string // the attribute's path, the parameter's name
	Value  string
}

func (e Effect) String() string { return fmt.Sprintf("%s %s=%q", e.Kind, e.Target, e.Value) }

// DryRun is a Host that reads, and runs programs and builtins, through another one, and writes nothing: writes are
// recorded, and read back from the record, so that later lines decide as they would. It serves one evaluation.
type DryRun struct {
	Host
	Effects []Effect
}

// SetAttr records.
func (d *DryRun) SetAttr(dev *hotplug.Device, name, value string) error {
	d.Effects = append(d.Effects, Effect{"attr", dev.Syspath() + "/" + name, value})
	return nil
}

// Attr reads what was recorded, else what the other host has.
func (d *DryRun) Attr(dev *hotplug.Device, name string) (string, error) {
	if value, ok := recorded(d.Effects, "attr", dev.Syspath()+"/"+name); ok {
		return value, nil
	}
	return d.Host.Attr(dev, name)
}

// SetSysctl records.
func (d *DryRun) SetSysctl(name, value string) error {
	d.Effects = append(d.Effects, Effect{"sysctl", name, value})
	return nil
}

// Sysctl reads what was recorded, else what the other host has.
func (d *DryRun) Sysctl(name string) (string, error) {
	if value, ok := recorded(d.Effects, "sysctl", name); ok {
		return value, nil
	}
	return d.Host.Sysctl(name)
}

func recorded(effects []Effect, kind, target string) (string, bool) {
	for i := len(effects) - 1; i >= 0; i-- {
		if effects[i].Kind == kind && effects[i].Target == target {
			return effects[i].Value, true
		}
	}
	return "", false
}

// Recorder is a Host that touches nothing and answers from what it is given: for tests, and to try rules on a machine
// that is not there. Attributes are the device's own, which may be a made-up tree. Its methods are those of [Host], and it
// serves one goroutine.
type Recorder struct {
	Programs   map[string]string                        // what a command line prints; one that is absent fails
	Builtins   map[string]map[string]string             // what a builtin's line sets; one that is absent fails
	BuiltinFn  func(name string, c *builtin.Call) error // asked before Builtins when it is not nil
	Sysctls    map[string]string
	Names      map[string]uint32 // of users and groups
	Consts     map[string]string
	Cmdline    string
	Globals    map[string]string
	Logger     modload.Logger
	Effects    []Effect
	Ran        []string // programs and builtins in their order
	LastEnv    []string // of the last program
	DeviceOnly bool     // attribute writes are refused, as on a read-only /sys
}

func (r *Recorder) Attr(dev *hotplug.Device, name string) (string, error) {
	if value, ok := recorded(r.Effects, "attr", dev.Syspath()+"/"+name); ok {
		return value, nil
	}
	return dev.Attr(name)
}

func (r *Recorder) SetAttr(dev *hotplug.Device, name, value string) error {
	if r.DeviceOnly {
		return fmt.Errorf("attribute %s: %w", name, fs.ErrPermission)
	}
	r.Effects = append(r.Effects, Effect{"attr", dev.Syspath() + "/" + name, value})
	return nil
}

func (r *Recorder) Sysctl(name string) (string, error) {
	if value, ok := recorded(r.Effects, "sysctl", name); ok {
		return value, nil
	}
	if value, ok := r.Sysctls[name]; ok {
		return value, nil
	}
	return "", fmt.Errorf("sysctl %s: %w", name, fs.ErrNotExist)
}

func (r *Recorder) SetSysctl(name, value string) error {
	r.Effects = append(r.Effects, Effect{"sysctl", name, value})
	return nil
}

func (r *Recorder) Program(_ context.Context, line string, env []string, _ string) (string, error) {
	r.Ran = append(r.Ran, line)
	r.LastEnv = env
	if out, ok := r.Programs[line]; ok {
		return out, nil
	}
	return "", fmt.Errorf("program %q: exit status 1", line)
}

func (r *Recorder) Builtin(_ context.Context, name string, call *builtin.Call) error {
	line := name
	for _, arg := range call.Args {
		line += " " + arg
	}
	r.Ran = append(r.Ran, line)
	if r.BuiltinFn != nil {
		return r.BuiltinFn(name, call)
	}
	set, ok := r.Builtins[line]
	if !ok {
		return fmt.Errorf("builtin %s: nothing found", line)
	}
	for key, value := range set {
		call.Set(key, value)
	}
	return nil
}

func (r *Recorder) User(name string) (uint32, error)  { return r.id("user", name) }
func (r *Recorder) Group(name string) (uint32, error) { return r.id("group", name) }

func (r *Recorder) id(what, name string) (uint32, error) {
	if id, ok := r.Names[name]; ok {
		return id, nil
	}
	return 0, fmt.Errorf("%s %s: %w", what, name, fs.ErrNotExist)
}

func (r *Recorder) Const(key string) string { return r.Consts[key] }
func (r *Recorder) CommandLine() string     { return r.Cmdline }

func (r *Recorder) Global(key string) (string, bool) {
	value, ok := r.Globals[key]
	return value, ok
}

func (r *Recorder) Log() modload.Logger { return r.Logger }
